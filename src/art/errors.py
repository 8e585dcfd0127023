"""Every error that leaves this library, in one tree.

Each class is also the standard library's error it specialises, so that code that knows nothing of art handles it too::

    ArtError
    ├── InvalidNameError        (ValueError)         a project, model or reference that cannot be one
    ├── ConfigurationError      (ValueError)         a setting or an argument that cannot work
    ├── NotFoundError           (LookupError)        asked for by name, and absent
    │   ├── ModelNotFoundError
    │   ├── CheckpointNotFoundError
    │   └── MetricNotFoundError
    ├── ConflictError           (FileExistsError)    something else is already there
    │   ├── CheckpointExistsError                    another checkpoint has this step
    │   └── DestinationNotEmptyError                 a fork into a model that has checkpoints of its own
    ├── IncompatibleError       (ValueError)         two things that do not go together
    │   ├── BaseModelMismatchError
    │   ├── LoRAShapeMismatchError
    │   └── FormatVersionError                       of no format that this release reads
    ├── CorruptCheckpointError  (OSError)            torn, truncated or altered
    ├── StorageError            (OSError)            this disk: full, read-only, gone
    │   └── UnconfirmedError                         something was done, and may not outlast a power failure
    ├── RemoteError             (OSError)            an object store
    │   ├── RemoteAccessError   (PermissionError)    credentials absent, expired or not allowed
    │   ├── RemoteNotFoundError (FileNotFoundError)  no such bucket
    │   └── RemoteUnavailableError (ConnectionError) unreachable, throttled or failing
    ├── TrainingDataError       (ValueError)         trajectories that cannot be trained on
    ├── DivergedError           (ArithmeticError)    a step that would have left weights that are not finite
    ├── OutOfMemoryError        (MemoryError)        a step that does not fit into memory
    ├── RankError               (RuntimeError)       a process that trains died, hung, or computed otherwise
    ├── NotRegisteredError      (RuntimeError)       a model without a backend
    ├── BackendClosedError      (RuntimeError)
    ├── TrackerError            (OSError)            a tracker did not take what it was told
    ├── GuardError          (RuntimeError)       a guard stopped a run that went wrong
    ├── WebhookError        (OSError)            a guard's webhook did not take what it was told
    ├── JudgeError              (RuntimeError)       a judge model did not answer, or not as it was asked
    └── InferenceError          (RuntimeError)       the sampler failed
        ├── FormTooLargeError                        what a request asked for outgrew the bounds of a grammar
        ├── QueueFullError                           too many requests are waiting
        └── SamplerLostError                         its server went away, and is asked or started again
"""

from art.visible import visible


class ArtError(Exception):
    """The root of every error this library raises. It may quote a stranger, and nothing in it acts on a terminal."""

    def __str__(self) -> str:
        return "\n".join(map(visible, super().__str__().split("\n")))


class InvalidNameError(ArtError, ValueError):
    """A project, model or reference that cannot be one."""


class ConfigurationError(ArtError, ValueError):
    """A setting or an argument that cannot work."""


class NotFoundError(ArtError, LookupError):
    """Something asked for by name is absent."""


class ModelNotFoundError(NotFoundError):
    """No model of this name has anything stored."""


class CheckpointNotFoundError(NotFoundError):
    """The model has no committed checkpoint that fits."""


class MetricNotFoundError(NotFoundError):
    """No checkpoint carries the metric asked for."""


class ConflictError(ArtError, FileExistsError):
    """Something else is already there."""


class CheckpointExistsError(ConflictError):
    """Another checkpoint already has this step."""


class DestinationNotEmptyError(ConflictError):
    """A fork was asked into a model that has checkpoints of its own."""

    WAYS_OUT = (
        "Choose a new name, or go on where it stands with continue_if_exists=True, or set its steps aside with "
        "overwrite=True."
    )
    """What every such error says to do."""


class IncompatibleError(ArtError, ValueError):
    """Two things do not go together."""


class BaseModelMismatchError(IncompatibleError):
    """A checkpoint was trained on another base model."""


class LoRAShapeMismatchError(IncompatibleError):
    """A checkpoint's adapter has another rank or other targets."""


class FormatVersionError(IncompatibleError):
    """A checkpoint has no format that this release reads: a newer one wrote it, or something else did."""


class CorruptCheckpointError(ArtError, OSError):
    """A checkpoint's bytes are not the ones its manifest promises."""


class StorageError(ArtError, OSError):
    """The local disk is full, read-only or gone."""

    def __str__(self) -> str:
        # What an OSError that was made with an errno prints has the number in front.
        return visible(self.strerror) if self.strerror else super().__str__()


class UnconfirmedError(StorageError):
    """Something was done, and the disk did not confirm that it is kept: a power failure may take it back."""


class RemoteError(ArtError, OSError):
    """An object store did not do what was asked."""


class RemoteAccessError(RemoteError, PermissionError):
    """Credentials are absent, expired or not allowed to do this."""


class RemoteNotFoundError(RemoteError, FileNotFoundError):
    """There is no such bucket or repository."""


class RemoteUnavailableError(RemoteError, ConnectionError):
    """The object store is unreachable, throttling or failing."""


class TrainingDataError(ArtError, ValueError):
    """Trajectories that cannot be trained on."""


class DivergedError(ArtError, ArithmeticError):
    """A training step would have left weights that are not finite numbers; it was undone."""


class OutOfMemoryError(ArtError, MemoryError):
    """A training step does not fit into memory; it was undone."""


class RankError(ArtError, RuntimeError):
    """One of several processes that train together died, hung, or computed otherwise; nothing was committed."""


class NotRegisteredError(ArtError, RuntimeError):
    """A model is used before it has a backend."""


class BackendClosedError(ArtError, RuntimeError):
    """A backend is used after it was closed."""


class TrackerError(ArtError, OSError):
    """A tracker did not take what it was told; the history has it, and it is told again."""


class GuardError(ArtError, RuntimeError):
    """A guard stopped a run that went wrong; nothing was trained, and nothing is lost."""


class WebhookError(ArtError, OSError):
    """The webhook of a guard did not take what it was told."""


class JudgeError(ArtError, RuntimeError):
    """A model that was asked to judge, or to make up scenarios, did not answer, or not in the form asked for."""


class InferenceError(ArtError, RuntimeError):
    """The sampler failed or was stopped before it answered."""


class FormTooLargeError(InferenceError):
    """The form that a request asked for became too large while an answer was kept to it; ask for a simpler one."""


class QueueFullError(InferenceError):
    """Too many requests are waiting for the sampler; try again shortly."""


class SamplerLostError(InferenceError):
    """The server that samples went away before it answered; the same request can be made again."""


def __getattr__(name: str) -> object:
    if name == "ARTError":  # ART's spelling of the root
        return ArtError
    if name.startswith("__"):  # what Python itself looks for
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from art.absent import missing

    raise missing(__name__, name)
