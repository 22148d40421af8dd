"""`forget export`: a model for another program to serve."""

from __future__ import annotations

import argparse

from forgetcli.cli.options import add_output_options
from forgetcli.cli.parser import Parser
from forgetcli.cli.session import Session
from forgetcli.cli.targets import require_output_is_no_input

SYNOPSIS = "MODEL --format FORMAT -o OUT [options]"

DETAILS = """
Writes a model's factors and ids for another program, without its interactions.

OUT by --format:
  implicit  an .npz that AlternatingLeastSquares.load of the library reads; its
            rows are in the order of user_ids and item_ids, which go along
  spark     a directory that Spark's ALSModel.load reads; ids must be 32-bit
            integers, factors become float32
  parquet   a directory with users.parquet and items.parquet: id, factors, bias;
            for vector search (LanceDB, pgvector, FAISS)
  npy       an .npz, if OUT ends so, or a directory of .npy files; forget import
            reads both again

The mean and the biases of an explicit model never get lost in silence: parquet
and npy carry them beside the factors, implicit and spark hold factors alone and
want --fold-biases. OUT appears whole or not at all.
"""

EXAMPLES = """
forget export model.npz --format parquet -o vectors
forget export model.npz --format implicit --fold-biases -o als.npz
forget export model.npz --format spark --fold-biases -o als-model --overwrite
"""

FORMATS = ("implicit", "spark", "parquet", "npy")
LISTS = ("fixed", "variable")


def add_arguments(parser: Parser) -> None:
    """The command's own arguments, and the shared ones."""
    files = parser.add_argument_group("files")
    files.add_argument("model", metavar="MODEL", help="a model file")
    files.add_argument("--format", required=True, choices=FORMATS, help="what is to read it")
    files.add_argument("-o", "--output", required=True, metavar="OUT", help="the file or directory to write")
    files.add_argument(
        "--overwrite", action="store_true", help="replace a directory of such an export; files are replaced anyway"
    )
    vectors = parser.add_argument_group("vectors")
    vectors.add_argument(
        "--fold-biases",
        action="store_true",
        help="put the mean and the biases into two more factors, so that inner products are predictions",
    )
    vectors.add_argument(
        "--augment",
        action="store_true",
        help="parquet: one more factor, by which cosines rank the items as inner products do",
    )
    vectors.add_argument(
        "--lists",
        choices=LISTS,
        default="fixed",
        help="parquet: vectors as fixed-size lists, or as lists (default: fixed)",
    )
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Loads, writes, reports."""
    from forgetcli import checkpoint
    from forgetcli.interop import ExportOptions, check_export, export_model
    from forgetcli.report import documents, summaries

    session = Session(arguments)
    output: str = arguments.output
    require_output_is_no_input(output, [arguments.model])
    options = ExportOptions(arguments.fold_biases, arguments.augment, arguments.lists, arguments.overwrite)
    check_export(output, arguments.format, options)
    with session.stage("reading", f"reading {arguments.model}"):
        model = checkpoint.load(arguments.model)
    with session.stage("writing", f"writing {output}"):
        exported = export_model(model, output, arguments.format, options)
    for caution in exported.cautions:
        session.warn(caution)
    session.confirm(summaries.export_summary(exported, arguments.format, output))
    session.finish(
        {
            "format": arguments.format,
            "model": arguments.model,
            "output": output,
            **documents.export_members(exported),
            "folded": arguments.fold_biases,
            "augmented": arguments.augment,
        }
    )
