#!/bin/sh
# Send a clip with curl: ./curl.sh MODEL CLIP.npy FEATURES.f32
#
# The clip's bytes follow the JSON that describes them, and so do those of the answer: the protocol's binary extension.
set -eu
model=$1 clip=$2 features=$3
input=${INPUT:-bold}
url=${URL:-http://127.0.0.1:8000}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A .npy file: 8 bytes, the length of a text (16 bits), the text with the shape, and the values.
length=$(($(od -An -tu1 -j8 -N1 "$clip") + 256 * $(od -An -tu1 -j9 -N1 "$clip")))
shape=$(head -c $((10 + length)) "$clip" | tail -c "$length" | sed -n "s/.*'shape': (\([0-9, ]*[0-9]\).*/\1/p")
size=$(($(wc -c < "$clip") - 10 - length))

cat > "$work/head" <<JSON
{"inputs": [{"name": "$input", "datatype": "FP32", "shape": [$shape], "parameters": {"binary_data_size": $size}}],
 "parameters": {"binary_data_output": true}}
JSON
start=$(wc -c < "$work/head")
{ cat "$work/head"; tail -c "$size" "$clip"; } > "$work/body"

curl --silent --show-error --fail-with-body --request POST --upload-file "$work/body" \
    --header "Inference-Header-Content-Length: $((start))" \
    --header "Expect:" \
    ${SWIFT_EXPORT_TOKEN:+--header "Authorization: Bearer $SWIFT_EXPORT_TOKEN"} \
    --dump-header "$work/headers" --output "$work/answer" \
    "$url/v2/models/$model/infer" || { cat "$work/answer" >&2; exit 1; }

start=$(tr -d '\r' < "$work/headers" | sed -n 's/^inference-header-content-length: *//Ip')
head -c "$start" "$work/answer"
echo
tail -c +$((start + 1)) "$work/answer" > "$features"
