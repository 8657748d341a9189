"""`make bench`: every table of speed and memory. One table: `python -m tests.bench NAME`."""

import importlib
import sys

TABLES = ("recorder_bench", "codec_bench", "store_bench", "dsp_bench", "voip_bench", "desk_bench")


def main(argv: list[str]) -> int:
    unknown = [name for name in argv if name not in TABLES]
    if unknown:
        print(f"There is no table {unknown[0]}; there are: {', '.join(TABLES)}.", file=sys.stderr)
        return 2
    for name in argv or TABLES:
        print(f"\n=== {name}", flush=True)
        module = importlib.import_module(f"tests.bench.{name}")
        module.main([])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
