"""Compares the results of the cases directly with the results through Turnpike, prints a table, and exits with 1 if they differ.

Arguments: pairs of files, DIRECT THROUGH…, each a JSON object with the result of each case.
"""

import json
import sys


def first_difference(a, b, path=""):
    """Where two results differ first."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if key not in a or key not in b:
                return f"{path}.{key} only {'through Turnpike' if key in b else 'directly'}"
            if a[key] != b[key]:
                return first_difference(a[key], b[key], f"{path}.{key}")
    if isinstance(a, list) and isinstance(b, list):
        for at, (left, right) in enumerate(zip(a, b)):
            if left != right:
                return first_difference(left, right, f"{path}[{at}]")
        return f"{path} has {len(a)} elements directly, {len(b)} through Turnpike"
    return f"{path}: {json.dumps(a)[:120]} directly, {json.dumps(b)[:120]} through Turnpike"


def main():
    different = equal = 0
    print("| client | case | result |\n|---|---|---|")
    for direct_file, through_file in zip(sys.argv[1::2], sys.argv[2::2]):
        with open(direct_file) as direct, open(through_file) as through:
            direct, through = json.load(direct), json.load(through)
        for case in sorted({*direct, *through}, key=lambda case: list(direct).index(case) if case in direct else -1):
            client, name = case.split(" | ", 1)
            left, right = direct.get(case), through.get(case)
            raised = isinstance(left, dict) and "raised" in left
            if raised:
                different += 1
                print(f"| {client} | {name} | FAILED directly: {left['raised']} {left['detail'][:160]} |")
            elif left == right:
                equal += 1
                print(f"| {client} | {name} | equal |")
            else:
                different += 1
                print(f"| {client} | {name} | DIFFERENT at {first_difference(left, right) if right is not None else 'all'} |")
    print(f"\n{equal} cases equal, {different} different")
    sys.exit(different > 0 or equal == 0)


main()
