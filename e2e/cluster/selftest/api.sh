#!/usr/bin/env bash
# api.sh ADDRESS PATH: asks the API as pods do, with the token that they are given and TLS that they
# check. Prints the answer's first line and its body. Runs in a pod.
set -euo pipefail

given=/var/run/secrets/kubernetes.io/serviceaccount
printf 'GET %s HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n' "$2" "$1" \
  "$(cat "$given/token")" |
  openssl s_client -quiet -verify_quiet -verify_return_error -CAfile "$given/ca.crt" \
    -servername kubernetes.default.svc -verify_hostname kubernetes.default.svc -connect "$1:443"
