#!/usr/bin/env python
"""Ask the endpoint a question about an image; the answer is printed as it is generated.

python serve/ask.py --image FILE --question "Is there a nodule?" [--url http://127.0.0.1:8000/v1]

The API key, where the endpoint has keys, is taken from $OPENAI_API_KEY.
"""

import argparse
from pathlib import Path

from openai import APIConnectionError, APIStatusError

from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.serving.endpoint import APPLICATION, ask_stream


def main() -> None:
    """Parse the command line, ask, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--question", required=True, help="what to ask, in English or Chinese")
    parser.add_argument("--image", type=Path, help="PNG, JPEG or DICOM file")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="the endpoint's base URL")
    parser.add_argument("--model", default=APPLICATION, help="the served model's name")
    parser.add_argument("--max-tokens", type=int, default=64, help="longest answer, in tokens")
    given = parser.parse_args()
    with one_line_errors():
        if given.image and not given.image.is_file():
            raise InputError(f"image {given.image} does not exist")
        image = given.image.read_bytes() if given.image else None
        settings = {"model": given.model, "max_tokens": given.max_tokens}
        try:
            for piece in ask_stream(given.url, image, given.question, **settings):
                print(piece, end="", flush=True)
        except APIConnectionError:
            raise InputError(f"no endpoint answers at {given.url}") from None
        except APIStatusError as error:
            raise InputError(f"the endpoint refused: {error.message}") from None
    print()


if __name__ == "__main__":
    main()
