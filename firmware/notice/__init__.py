"""The shipped notice: what a caller hears before anything is recorded. ``tools/speech.py`` speaks ``notice.txt`` into
``notice.wav``."""
