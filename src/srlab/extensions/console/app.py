"""Enlarge photographs on a local web page, with a slider between before and after.

The page can be opened on this computer only, unless --host is given; Ctrl-C ends it. Networks are those
given by --model and those that need no file.

  srlab app
  srlab app --model model_x4.pt --model outputs/elan_light_x4/2026-11-21_10-00-00 --port 8000
"""

import argparse

from srlab.extensions.console.flags import integer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add networks, device and address."""
    add = parser.add_argument
    add(
        "--model",
        "-m",
        action="append",
        default=[],
        metavar="RUN_OR_FILE",
        help="run folder or file of weights to offer; repeatable",
    )
    add("--device", default="auto", help="cpu, cuda, cuda:1 or auto (default)")
    add("--host", default="127.0.0.1", help="address to listen at; default: 127.0.0.1, this computer alone")
    add("--port", type=integer(1), default=7860, help="default: 7860")


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C.

    Raises:
        ValueError: gradio is not installed, or no such network.
        OSError: a file does not exist, or the port is taken.
        KeyboardInterrupt: Ctrl-C.
    """
    from srlab.extensions.upscale.page import build_page, serve

    page = build_page(arguments.model, device=arguments.device)
    print(f"http://{arguments.host}:{arguments.port}  (Ctrl-C ends)", flush=True)
    serve(page, host=arguments.host, port=arguments.port)
