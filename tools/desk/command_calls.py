"""import, list, extract, verify, purge: what came back on a stick."""

import argparse


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    pass
