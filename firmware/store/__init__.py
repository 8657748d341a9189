"""The vault. Its public door is ``vault``; what it writes is described in FORMAT.md."""

if not __debug__:
    raise SystemExit(
        "Tacet does not run with assertions switched off (python -O): they stop the recorder before it keeps or "
        "destroys what it must not. Nothing was changed; start it without -O."
    )
