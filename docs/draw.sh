#!/bin/sh
# Draws the pictures of the documents into a directory (default: docs) with `portolan` from $PATH.
set -eu
docs=$(cd "$(dirname "$0")" && pwd)
into=$(cd "${1:-$docs}" && pwd)
cd "$docs/../integration/examples/demo"
node="--node node-a --cluster-cidr 10.128.0.0/16"

# shellcheck disable=SC2086 # several words
draw() {
	portolan draw service-python -f "$1" $node -o svg >"$into/$2"
}

draw 4-load-balancer.yaml load-balancer.svg
draw 5-local.yaml no-answer.svg
