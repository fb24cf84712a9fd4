"""``python -m rep_kedro run``: Kedro's command line, with signals answered from the first instant."""

from rep_kedro import interrupts

interrupts.answer_early()  # before Kedro is imported, for that takes a while
interrupts.watch_parent()


def main() -> None:
    """Run Kedro's command line under its own name."""
    import sys
    from pathlib import Path

    from kedro.framework.cli.cli import main as run_kedro
    from kedro.utils import find_kedro_project

    if find_kedro_project(Path.cwd()) is None:  # there Kedro knows none of the project's commands
        sys.exit(f"error: {Path.cwd()} is not in the project's folder; change to that and run again")
    sys.argv[0] = "kedro"
    run_kedro()


if __name__ == "__main__":
    main()
