#!/bin/sh
# The table of issue 5: what the embedded bundle is judged by, on held-out rendered people and on real photos.
# Usage: benchmarks/judge-mini.sh [OUT [BUNDLE]]; stop it and run it again as often as you like.
set -eu
out=${1:-evaluation}
bundle=${2:-mini}
python -m instantid data fetch
# People for the judge of attributes. Those who are asked for come from another seed: nobody is met twice.
python -m instantid data make "$out/data" --people 2200 --views 2 --size 128 --looks 1 --together 0 --twins \
    --framing portrait --framing close-up --no-depth --seed 5 --workers "$(nproc)"
python -m instantid evaluate --bundle "$bundle" --protocol mini --set synthetic --people 40 --pictures 2 \
    --data "$out/data" --out "$out/people"
python -m instantid evaluate --bundle "$bundle" --protocol mini --set packages --people 8 --pictures 2 \
    --data "$out/data" --out "$out/photos"
python -m instantid evaluate --bundle "$bundle" --protocol strengths --set synthetic --people 12 --pictures 1 \
    --data "$out/data" --out "$out/strengths"
