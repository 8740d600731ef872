#!/usr/bin/env bash
# load.sh <IMAGE.tar: gives an image to containerd of the node that this runs in.
set -euo pipefail

ctr --namespace k8s.io images import - >/dev/null
