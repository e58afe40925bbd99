"""The process that the Dockerfile parser runs in: reads requests, writes answers, until its input ends or nobody asks.

Decided here and only here: how the parser's values travel. It is started as a program by its path, imports nothing of
this project, and so starts quickly. A request is 4 bytes of length (big endian) and the text; an answer is a length
and JSON: `[null, [[instruction, original, words, is_json, flags, first_line, last_line, heredocs], …]]`, or
`[error, []]`.
"""

from __future__ import annotations

import json
import select
import sys

_IDLE = 60.0


def _answer(text: str) -> list[object]:
    import dockerfile

    try:
        found = dockerfile.parse_string(text)
    except dockerfile.GoParseError as error:
        return [str(error), []]
    return [
        None,
        [
            [
                each.cmd,
                each.original,
                each.value,
                each.json,
                each.flags,
                each.start_line,
                each.end_line,
                [[heredoc.name, heredoc.content] for heredoc in each.heredocs],
            ]
            for each in found
        ],
    ]


def main() -> None:
    """Serve."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while select.select([requests], [], [], _IDLE)[0]:
        head = requests.read(4)
        if len(head) < 4:
            return
        text = requests.read(int.from_bytes(head, "big")).decode()
        data = json.dumps(_answer(text)).encode()
        answers.write(len(data).to_bytes(4, "big") + data)
        answers.flush()


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    main()
