#!/usr/bin/env bash
# Everything that needs a CUDA GPU, in under 25 minutes: tests, latency, training steps, loader, a short training,
# 16 bits against 32.
#
#   benchmarks/gpu.sh                       all parts
#   benchmarks/gpu.sh latency training      only these: tests latency light compiled training loader train precision
#
# SRLAB_IMAGES: folder of high-resolution pictures for train and precision (default: the photographs that come
# with scikit-image). OUT: folder of the JSON records (docs/results). NAME: prefix of their names (gpu).
# WORK: folder of the network that train makes and precision scores (a temporary one).
# PYTHON: the interpreter of the environment (python). SLACK: an integer factor on the time limit of every part (1).
# A part that fails or exceeds its limit is stopped; the others continue, and the exit status is 1.
# shellcheck disable=SC2329 # the parts are called by name
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

python=${PYTHON:-python}
out=${OUT:-docs/results}
name=${NAME:-gpu}
slack=${SLACK:-1}
parts=(tests latency light compiled training loader train precision)
light=(elan_light swinir_light esc_light esc hit_sir hit_sng hit_srf elan_light_elsa swinir_light_elsa edsr_baseline)
work=${WORK:-$(mktemp -d)}
export WANDB_MODE=offline SRLAB_CACHE="$work/cache"

for part in "$@"; do
    case " ${parts[*]} " in
    *" $part "*) ;;
    *)
        echo "no part $part; choose from ${parts[*]}" >&2
        exit 2
        ;;
    esac
done
[ "$#" -eq 0 ] || parts=("$@")

mkdir -p "$out" "$work" || exit 2
"$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || {
    echo "benchmarks/gpu.sh needs a CUDA device, and torch finds none: install a CUDA build of torch" >&2
    exit 2
}

# limited SECONDS COMMAND…: interrupts as Ctrl-C does, so that the lab still writes what it has measured.
limited() {
    local seconds=$(($1 * slack))
    shift
    timeout --signal=INT --kill-after=30 "$seconds" "$@"
}

# profile SECONDS RECORD ARGUMENT…
profile() {
    local seconds=$1 record=$out/$name-$2.json
    shift 2
    limited "$seconds" "$python" -m srlab.extensions.console.main profile --device cuda --record "$record" "$@"
}

# Prints the overrides that choose the training pictures, one a line.
data() {
    if [ -n "${SRLAB_IMAGES:-}" ]; then printf '%s\n' data=folder "data.root=$SRLAB_IMAGES"; else echo data=demo; fi
}

part_tests() { limited 210 "$python" -m pytest -q -m gpu; }

part_latency() {
    local status=0
    for scale in 4 2; do
        profile 120 "elan_light-x$scale" elan_light --scale "$scale" --output 1280x720 --backend reference,sdpa,fused \
            --dtype float32,bfloat16,float16 --compile eager,reduce-overhead --rounds 15 || status=1
    done
    return "$status"
}

part_light() {
    local status=0
    for scale in 4 2; do
        profile 100 "light-x$scale" "${light[@]}" --scale "$scale" --output 1280x720 --rounds 5 \
            --backend reference,sdpa,fused,linear --dtype float32,bfloat16,float16 || status=1
    done
    return "$status"
}

part_compiled() {
    profile 120 light-x4-compiled "${light[@]}" --scale 4 --output 1280x720 --backend sdpa,fused,linear \
        --dtype bfloat16 --compile eager,default --rounds 7
}

# Compiled, a step takes a minute or more to prepare: the whole cross at batch 32 only.
part_training() {
    local status=0 common=(elan_light --scale 2 --step training --patch 64 --rounds 7)
    for batch in 32 64; do
        profile 45 "step-batch$batch" "${common[@]}" --batch "$batch" --backend reference,sdpa,fused \
            --dtype float32,bfloat16 --checkpointing false,true || status=1
    done
    profile 200 step-batch32-compiled "${common[@]}" --batch 32 --backend reference,sdpa,fused \
        --dtype float32,bfloat16 --compile eager,default || status=1
    profile 90 step-batch64-compiled "${common[@]}" --batch 64 --backend fused --dtype bfloat16 \
        --compile eager,default --checkpointing true || status=1
    return "$status"
}

part_loader() {
    profile 45 loader elan_light --scale 2 --step training --batch 32 --patch 64 --backend fused --dtype bfloat16 \
        --data demo --workers 0,2,8
}

# A few hundred steps, scored; precision scores the network of bf16-mixed again.
part_train() {
    local status=0 precision run choice
    mapfile -t choice < <(data)
    for precision in bf16-mixed 32-true; do
        run=$work/$precision
        rm -rf "$run"
        limited 60 "$python" train.py model=elan_light model.backend=fused scale=2 "${choice[@]}" data.patch_size=64 data.batch_size=32 \
            data.num_workers=8 data.on_bad_image=skip trainer.max_steps=300 validate_every=300 "trainer.precision=$precision" \
            trainer.accelerator=gpu optimizer.lr=1e-3 logger=csv "hydra.run.dir=$run" &&
            limited 40 "$python" evaluate.py "checkpoint=$run" "${choice[@]}" device=cuda "hydra.run.dir=$run-scores" &&
            cp "$run/summary.json" "$out/$name-train-$precision.json" &&
            cp "$run-scores/evaluation.json" "$out/$name-scores-$precision.json" || status=1
    done
    return "$status"
}

part_precision() {
    local record=$out/$name-precision.json
    [ -d "$work/bf16-mixed" ] || { echo "precision needs the network that the part train trains" >&2; return 1; }
    [ -n "${SRLAB_IMAGES:-}" ] || { echo "precision needs pictures: set SRLAB_IMAGES to a folder" >&2; return 1; }
    limited 40 "$python" benchmarks/precision.py "$work/bf16-mixed" "$SRLAB_IMAGES" --device cuda >"$record.part" &&
        mv "$record.part" "$record" && cat "$record"
}

summary=()
failed=0
for part in "${parts[@]}"; do
    started=$SECONDS
    printf '\n== %s\n' "$part"
    if "part_$part"; then result=passed; else result=FAILED failed=1; fi
    summary+=("$(printf '%-10s %s %5d s' "$part" "$result" "$((SECONDS - started))")")
done
printf '\n== summary (%d s), records in %s\n' "$SECONDS" "$out"
printf '%s\n' "${summary[@]}"
exit "$failed"
