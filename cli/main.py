"""The `khulasa` command. Subcommands are imported when they are called: help stays fast."""

from __future__ import annotations

import importlib
import io
import sys

import click

from .logs import say_error, set_up

# Name of the command -> the module that holds it, and its line in the help.
COMMANDS = {
    "run": ("run", "Clean, translate, summarize and score."),
    "clean": ("run", "Clean Arabic text."),
    "translate": ("run", "Clean and translate into English."),
    "summarize": ("run", "Clean and summarize in Arabic."),
    "evaluate": ("evaluate", "Evaluate over data sets and compare with the baseline."),
    "score": ("evaluate", "Score a file of hypotheses, one segment a line."),
    "compare": ("evaluate", "Compare runs, with tests of significance."),
    "history": ("evaluate", "List the runs with their verdicts and scores."),
    "accept": ("evaluate", "Make a run the baseline of later ones."),
    "train": ("train", "Train or fine-tune a translator or a summarizer."),
    "shortlist": ("shortlist", "Learn the pieces that a large model's outputs are made of."),
    "doctor": ("doctor", "Tell what runs where on this machine, and why."),
}


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        return getattr(module, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1, 0.5)
            hint = f" Did you mean '{near[0]}'?" if near else f" Commands: {', '.join(COMMANDS)}."
            ctx.fail(f"No command '{args[0]}'.{hint}")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="khulasa")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for everything.")
def cli(verbose: int) -> None:
    """Arabic in; clean Arabic, an English translation, a summary in each language and scores out.

    Try it: khulasa run article.txt
    """
    set_up(verbose)


def main() -> None:
    """Run the command line. Errors of ours become one message and an exit code."""
    from ..models.errors import ConfigError, KhulasaError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = cli.main(standalone_mode=False)
    except KhulasaError as error:
        say_error(error)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("khulasa: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone: nothing more to say, and nowhere to say it.
        sys.stderr.close()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
