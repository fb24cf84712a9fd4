"""The project's commands, each imported when it is called."""

from importlib import import_module

import click

_COMMANDS = {
    "dvc-sync": "Write dvc.yaml from the registered pipelines, or check it.",
    "export-results": "Write networks, measures, probes and accuracies as plain files.",
    "import-grid": "Print a grid of trainings of phd-lab's JSON as YAML.",
    "layers": "List the layers of a network: shapes, parameters, receptive fields.",
    "measures": "List the similarity measures.",
    "new-study": "Write a configuration for images and networks of one's own.",
    "plan": "Show what extracting features would compute and take.",
    "prune": "Remove members of collections that are no longer planned.",
    "run": "Run the pipeline.",
    "tables": "Write docs/tables.md, the columns of every table, or check it.",
    "verify": "Check that every artifact is there, whole and as planned.",
}


class ProjectCommands(click.Group):
    """A group that imports a command's module only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"rep_kedro.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.group(cls=ProjectCommands, name="kedro")  # Kedro's own group, so that `run` is in the help once
def cli() -> None:
    """Commands of rep_kedro."""
