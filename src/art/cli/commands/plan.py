"""`art plan`: what a model takes of a card's memory, before it is downloaded."""

from typing import Annotated

import typer

from art.cli.invocation import AsJson, settle
from art.cli.render import output


def plan(
    context: typer.Context,
    base_model: Annotated[str, typer.Argument(metavar="BASE_MODEL", help="A folder, or a repository of the Hub.")],
    gpu_memory: Annotated[float, typer.Option("--gpu-memory", metavar="GB", help="Of the card.")],
    dtype: Annotated[str, typer.Option("--dtype", help="Of the base's weights.")] = "bfloat16",
    in_4bit: Annotated[bool, typer.Option("--load-in-4bit", help="Hold the base's layers in 4 bits.")] = False,
    micro_batch_tokens: Annotated[
        int, typer.Option("--micro-batch-tokens", help="Tokens of a training pass.")
    ] = 16_384,
    rows: Annotated[int, typer.Option("--rows", help="Answers that are sampled at once.")] = 64,
    row_tokens: Annotated[int, typer.Option("--row-tokens", help="Tokens of a row, prompt and answer.")] = 2048,
    rank: Annotated[int, typer.Option("--rank", help="Of the adapter.")] = 8,
    versions: Annotated[int, typer.Option("--versions", help="Adapters that are served at once.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Say what base, adapter, moments, activations and keys take, and which settings fit.

    Reads the model's config.json and nothing else. The exit status is 1 where it does not fit.
    """
    from art.cli.render import plan as render
    from art.ops import plan as planning

    demand = planning.Demand(
        dtype=dtype,  # pyright: ignore[reportArgumentType] - checked there
        in_4bit=in_4bit,
        micro_batch_tokens=micro_batch_tokens,
        rows=rows,
        row_tokens=row_tokens,
        rank=rank,
        versions=versions,
    )
    memory_plan = planning.plan(base_model, demand, gpu_memory=gpu_memory)
    if settle(context, None, None, as_json).as_json:
        output.print_json(render.document(memory_plan))
    else:
        output.print_lines(render.lines(memory_plan))
    if not memory_plan.fits:
        raise typer.Exit(1)
