#!/usr/bin/env bash
# ask-dns.sh NAME: whether the cluster's DNS, asked as pods ask it, has an address for a name.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

# Over TCP, which bash can speak: a length; a header with one question; the name; type A, class IN.
question='\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00'
bytes=12
for label in ${1//./ }; do
  question+=$(printf '\\x%02x%s' "${#label}" "$label")
  bytes=$((bytes + 1 + ${#label}))
done
question+='\x00\x00\x01\x00\x01'
bytes=$((bytes + 5))
exec 3<>"/dev/tcp/$dns_address/53"
printf '%b' "$(printf '\\x%02x\\x%02x' $((bytes / 256)) $((bytes % 256)))$question" >&3
# Behind the length: identity, flags, the number of questions, and of answers.
answers=$(head -c 10 <&3 | od -An -tu1 -j8 -N2 | awk '{ print $1 * 256 + $2 }')
[ "$answers" -gt 0 ]
