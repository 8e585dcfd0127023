"""Where scripts look for cloud machines; there are none here."""

raise ImportError(
    "artfork trains on the machine it runs on and has no art.skypilot. "
    "Start your script on the machine you want, and use art.local.LocalBackend there."
)
