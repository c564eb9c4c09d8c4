#!/usr/bin/env bash
# Everything that only a CUDA GPU can tell, in under 25 minutes: tests, latency, training steps, loader, a short
# training, 16 bits against 32, and the bars that ELAN-light must reach.
#
#   benchmarks/gpu.sh                       all parts
#   benchmarks/gpu.sh latency training      these alone: tests latency light compiled training loader train precision bars
#
# SRLAB_IMAGES: folder of high-resolution pictures for train and precision (without it: the photographs that come
# with scikit-image). OUT: where the JSON records go (docs/results). NAME: what their names begin with (gpu).
# WORK: where train leaves the network that precision scores (a temporary folder).
# PYTHON: the interpreter of the environment (python). SLACK: an integer that each part's share of the time is
# multiplied by (1). A part that fails, or takes longer than its share, ends; the others go on, and the status is 1.
# shellcheck disable=SC2329 # the parts are called by name
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

python=${PYTHON:-python}
out=${OUT:-docs/results}
name=${NAME:-gpu}
slack=${SLACK:-1}
parts=(tests latency light compiled training loader train precision bars)
light=elan_light,swinir_light,esc_light,esc,hit_sir,hit_sng,hit_srf,elan_light_elsa,swinir_light_elsa,edsr_baseline
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

# limited SECONDS COMMAND…: as Ctrl-C does, so that the lab still writes what it has measured.
limited() {
    local seconds=$(($1 * slack))
    shift
    timeout --signal=INT --kill-after=30 "$seconds" "$@"
}

# profile SECONDS RECORD ARGUMENT…
profile() {
    local seconds=$1 record=$out/$name-$2.json
    shift 2
    limited "$seconds" "$python" -c 'from srlab.extensions.console.main import main; raise SystemExit(main())' \
        profile device=cuda "record=$record" "$@"
}

# Lines of a command's arguments that say which pictures are learnt from; the demo's where none are given.
data() {
    if [ -n "${SRLAB_IMAGES:-}" ]; then printf '%s\n' data=folder "data.root=$SRLAB_IMAGES"; else echo data=demo; fi
}

part_tests() { limited 210 "$python" -m pytest -q -m gpu; }

part_latency() {
    local status=0
    for scale in 4 2; do
        profile 120 "elan_light-x$scale" model=elan_light "scale=$scale" output=1280x720 backend=reference,sdpa,fused \
            dtype=float32,bfloat16,float16 compile=eager,default,graph repeats=15 --roofline || status=1
    done
    return "$status"
}

part_light() {
    local status=0
    for scale in 4 2; do
        profile 100 "light-x$scale" "model=$light" "scale=$scale" output=1280x720 backend=reference,sdpa,fused,linear \
            dtype=float32,bfloat16,float16 compile=eager,graph repeats=5 --roofline || status=1
    done
    return "$status"
}

part_compiled() {
    profile 120 light-x4-compiled "model=$light" scale=4 output=1280x720 backend=sdpa,fused,linear dtype=bfloat16 \
        compile=eager,default repeats=7
}

# Compiled, a step takes a minute or more to prepare: the whole cross at batch 32 only.
part_training() {
    local status=0 common=(model=elan_light scale=2 step=training patch=64 repeats=7)
    for batch in 32 64; do
        profile 45 "step-batch$batch" "${common[@]}" "batch=$batch" backend=reference,sdpa,fused dtype=float32,bfloat16 \
            checkpointing=false,true || status=1
    done
    profile 200 step-batch32-compiled "${common[@]}" batch=32 backend=reference,sdpa,fused dtype=float32,bfloat16 \
        compile=eager,default || status=1
    profile 90 step-batch64-compiled "${common[@]}" batch=64 backend=fused dtype=bfloat16 compile=eager,default \
        checkpointing=true || status=1
    return "$status"
}

part_loader() {
    profile 45 loader model=elan_light scale=2 step=training batch=32 patch=64 backend=fused dtype=bfloat16 data=demo workers=0,2,8
}

# A few hundred steps, scored; bf16-mixed is the one that precision looks at.
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

part_bars() {
    local records status
    mapfile -t records < <(
        find "$out" -maxdepth 1 \( -name "$name-elan_light-x*.json" -o -name "$name-step-batch*.json" \) | sort
    )
    [ "${#records[@]}" -gt 0 ] || { echo "bars needs the records of latency and training in $out" >&2; return 1; }
    "$python" benchmarks/bars.py "${records[@]}" >"$work/bars"
    status=$?
    cat "$work/bars"
    tail -n 1 "$work/bars" >"$out/$name-bars.json"
    return "$status"
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
