"""Check a curated data set's exclusion manifest.

python -m doctor_sun.data.decontamination verify FOLDER [--key PUBLIC.pem]
"""

import argparse

from doctor_sun.data.decontamination.manifest import verify
from doctor_sun.errors import one_line_errors


def main() -> None:
    """Print what was checked; exit status 2 when anything does not hold."""
    parser = argparse.ArgumentParser(prog="python -m doctor_sun.data.decontamination")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("verify", help="check an exclusion manifest")
    command.add_argument("folder", help="the curated data set")
    command.add_argument("--key", help="PEM file of the key that must have signed it")
    arguments = parser.parse_args()
    with one_line_errors():
        exclusions = verify(arguments.folder, arguments.key)
    manifest = exclusions.manifest
    signer = "signed" if exclusions.signed else "UNSIGNED"
    if exclusions.signed and not arguments.key:
        signer += " by the key that it names itself (give --key to check who)"
    print(f"{arguments.folder}: {signer}, sha256 {exclusions.sha256}")
    print(f"{manifest['excluded_rows']} rows excluded")
    for name, facts in sorted(manifest["benchmarks"].items()):
        known = f"{facts['items']} items" if facts["checked"] else "NOT checked"
        print(f"  {name:<14}{known}")


if __name__ == "__main__":
    main()
