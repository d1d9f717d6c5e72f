#!/usr/bin/env bash
# All that a GPU can tell, in one command and one JSON: build, contract tests, compute-sanitizer, benches.
#   bench/gpu.sh [result.json]      default: bench/results/<gpu name>.json
# A stage that fails is recorded and the next one runs; the exit status is 1 if any failed. No network, no pip.
# PYTHON names the interpreter (python3); LIMIT the seconds for everything (460).
set -u
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
LIMIT=${LIMIT:-460}
started=$SECONDS
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
failed=0

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)
if [ -z "$gpu" ] || [ -z "$capability" ]; then
  echo "gpu.sh: expected a machine with an NVIDIA GPU, got none from nvidia-smi" >&2
  exit 1
fi
export TORCH_CUDA_ARCH_LIST="$capability" PYTHONUNBUFFERED=1 MAX_JOBS="${MAX_JOBS:-$(nproc)}"
result=${1:-bench/results/$(echo "$gpu" | tr '[:upper:] /' '[:lower:]__').json}

# stage NAME SECONDS COMMAND...: runs with a time limit, keeps the log, never stops the script.
stage() {
  local name=$1 limit=$2 left=$((LIMIT - (SECONDS - started))) begin=$SECONDS status
  shift 2
  if [ "$left" -lt 5 ]; then
    record "$name" skipped 0 "no time left of $LIMIT s"
    failed=1
    return 1
  fi
  [ "$limit" -gt "$left" ] && limit=$left
  echo "== $name (at most $limit s)"
  timeout -k 5 "$limit" "$@" >"$logs/$name.log" 2>&1
  status=$?
  tail -n 25 "$logs/$name.log"
  if [ "$status" -eq 0 ]; then
    record "$name" passed $((SECONDS - begin)) ""
  elif grep -q "Device not supported" "$logs/$name.log"; then
    record "$name" skipped $((SECONDS - begin)) "the tool does not support this device"
  else
    failed=1
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
      record "$name" failed $((SECONDS - begin)) "stopped after $limit s"
    else
      record "$name" failed $((SECONDS - begin)) "exit status $status"
    fi
  fi
  return "$status"
}

record() {
  printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$logs/stages"
  echo "-- $1: $2 ${4:+($4) }in $3 s"
}

stage build 170 "$PYTHON" setup.py build_ext --inplace
stage build_info 30 "$PYTHON" -c '
import json, saliency_ext
from saliency_ext import _C
info = _C.build_info()
print(json.dumps(info))
raise SystemExit(0 if info["cuda"] else "the library was built without CUDA kernels")'
stage agreement 60 "$PYTHON" -m bench.gpu_sanitize
stage tests 150 "$PYTHON" -m pytest tests -q --backend cuda -p no:cacheprovider
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 stage "$tool" 75 \
      compute-sanitizer --tool "$tool" --error-exitcode 9 "$PYTHON" -m bench.gpu_sanitize
  done
else
  record memcheck skipped 0 "compute-sanitizer is not on PATH"
  record racecheck skipped 0 "compute-sanitizer is not on PATH"
fi
stage bench 240 "$PYTHON" -m bench --device cuda --seconds 0.3 --no-memory --out "$logs/bench.json"

"$PYTHON" - "$logs" "$result" "$gpu" "$capability" <<'PYTHON_CODE' || failed=1
import json
import sys
from pathlib import Path

logs, result = map(Path, sys.argv[1:3])
stages = []
for line in (logs / "stages").read_text().splitlines():
    name, status, seconds, reason = line.split("\t")
    stage = {"name": name, "status": status, "seconds": int(seconds), "reason": reason}
    log = logs / f"{name}.log"
    if log.exists():
        text = log.read_text(errors="replace").replace(str(Path.cwd()), ".")
        stage["log_end"] = text.splitlines()[-40:] if status == "failed" else text.splitlines()[-5:]
    stages.append(stage)
bench = logs / "bench.json"
content = {
    "gpu": sys.argv[3],
    "compute_capability": sys.argv[4],
    "passed": all(stage["status"] != "failed" for stage in stages),
    "stages": stages,
    "bench": json.loads(bench.read_text()) if bench.exists() else None,
}
result.parent.mkdir(parents=True, exist_ok=True)
result.write_text(json.dumps(content, indent=1) + "\n")
print(f"written: {result}")
PYTHON_CODE
echo "total: $((SECONDS - started)) s, $([ "$failed" -eq 0 ] && echo passed || echo FAILED)"
exit "$failed"
