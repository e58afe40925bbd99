"""Dockerfiles that both engines build: what is told, the history, the settings and every layer must be the same."""

from __future__ import annotations

import bz2
import gzip
import lzma

from tests.sim.build.worlds import Case, File, Files, folder, hard, link, tar

_TREE: Files = {
    "d": folder(0o750),
    "d/a": File(b"alpha", 0o640),
    "d/run.sh": File(b"#!/bin/sh\n", 0o755),
    "d/sub": folder(0o2775),
    "d/sub/b": "beta",
    "d/sub/suid": File(b"x", 0o4755),
    "d/dangling": link("nowhere"),
    "d/absolute": link("/etc/passwd"),
    "d/relative": link("a"),
    "d/hard": hard("d/a"),
    "f": "file\n",
    "g": File(b"", 0o600),
    "l": link("f"),
    "ld": link("d"),
}

_ARCHIVE = tar(
    {
        "top": folder(0o700),
        "top/file": File(b"in an archive", 0o604, uid=7, gid=8),
        "top/link": link("file"),
        "top/hard": hard("top/file"),
        "deep/er/file": File(b"no parents", uid=9),
        "fifo": File(kind=b"6", mode=0o620),
    }
)

CASES = (
    Case("base-alone", "FROM busybox\n"),
    Case(
        "metadata",
        """FROM busybox
MAINTAINER Some One <some@example.org>
ENV one=1 two="2 2" three=3\\ 3
ENV old style value
LABEL a=b "c d"="e f" multi="x \\
y"
EXPOSE 80 90/udp 100-102/tcp 80
VOLUME /a /b
VOLUME ["/c d"]
USER nobody
STOPSIGNAL SIGTERM
STOPSIGNAL 9
HEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --retries=3 CMD curl -f "http://x/" || exit 1
HEALTHCHECK CMD ["a", "b"]
HEALTHCHECK NONE
CMD ["a", "b c\\n", "ü"]
CMD echo "quoted"
ENTRYPOINT ["e"]
ENTRYPOINT e f
SHELL ["/bin/ash", "-x", "-c"]
CMD after shell
ONBUILD RUN echo x
ONBUILD COPY --from=0 /x /y
WORKDIR /a/b
WORKDIR c
WORKDIR ../d
ARG plain
ARG with=value
""",
    ),
    Case("entrypoint-takes-cmd", 'FROM busybox\nCMD ["c"]\nENTRYPOINT ["e"]\n'),
    Case("entrypoint-takes-inherited-cmd", 'FROM busybox AS a\nCMD ["c"]\nFROM a\nENTRYPOINT ["e"]\n'),
    Case("entrypoint-of-nothing", "FROM busybox\nENTRYPOINT []\nCMD []\n"),
    Case(
        "expansion",
        """FROM busybox
ENV x="a b" y=c empty=
ENV z=${x:-d} w=${q:-"e f"} v=${y:+alt} u='$x' t=\\$x s=$x$y r=${empty:-dflt} q="${x}'$y'" p=a\\\\b o="a\\zb"
ENV n=${nope} m=${nope:+x} l=pre${y}post k="\\"$y\\"" j=$$ i=$1x h=${y}${y}
LABEL a="$x" b=$y c='$y'
USER $y
WORKDIR /w/$y
ENV ports="1000 1001"
EXPOSE $ports 80
VOLUME /v/$y ${x}
ARG a1=$y
ENV fromarg=$a1
STOPSIGNAL ${sig:-9}
ONBUILD RUN echo $x
CMD echo $x
""",
    ),
    Case(
        "escape-directive",
        "# escape=`\nFROM busybox\nENV a=x`$y b=`\n  c\nRUN echo one `\n && echo two\n",
    ),
    Case("comments-and-blank-lines", "# a comment\n\nFROM busybox\n# more\nRUN echo a && \\\n # within\n\n echo b\n"),
    Case("lower-case", 'from busybox as Base\nrun echo hi\ncmd ["x"]\nfrom BASE\n'),
    Case(
        "arguments",
        """ARG image=busybox
ARG late=$image
FROM $image AS one
RUN echo "<$image>"
ARG image
RUN echo "<$image>"
ARG given=default
ARG unset
RUN echo "$given $unset $HTTP_PROXY"; test -z "$unset"
ENV given=env
RUN echo "$given"
FROM ${late}
RUN echo "<$given>"
ARG a b=2
RUN echo "$a $b"
""",
        options={"buildargs": {"given": "built", "unknown": "x", "another": "y", "HTTP_PROXY": "p"}},
    ),
    Case("proxies-in-the-key", "FROM busybox\nRUN true\nARG http_proxy\nRUN true\n", options={
        "buildargs": {"http_proxy": "h", "no_proxy": "n"}}),
    Case("run", "FROM busybox\nRUN echo out\nRUN echo err >&2\nRUN [\"/bin/sh\", \"-c\", \"echo json\"]\nRUN true\n"),
    Case(
        "run-changes",
        """FROM busybox
RUN mkdir -p /n/e/w && echo x >/n/file && chmod 600 /n/file && chown 5:6 /n/file && ln -s file /n/link
RUN rm /n/file && rm -r /n/e && mkdir /n/e && rm /etc/group && touch -d @1600000000 /n/then && chmod 700 /var
RUN rm -r /n && mkdir /n
""",
    ),
    Case("run-as-user", "FROM busybox\nWORKDIR /w\nUSER nobody\nENV HOME=/x\nRUN id -u; id -g; pwd; echo $HOME\n"),
    Case("run-environment", "FROM busybox\nENV A=1\nARG B=2\nRUN env | grep -v -e HOSTNAME -e PWD | sort\n"),
    Case("run-fails", "FROM busybox\nRUN echo before; exit 3\nRUN never\n"),
    Case("run-fails-forcerm", "FROM busybox\nRUN false\n", options={"forcerm": True}),
    Case("run-big-code", "FROM busybox\nRUN exit 300\n"),
    Case("no-rm", "FROM busybox\nRUN true\nENV a=b\n", options={"rm": False}),
    Case("volume-content", "FROM busybox\nRUN mkdir /v && echo a >/v/a\nVOLUME /v\nRUN ls /v; echo b >/v/b; ls /v\nRUN ls /v\n"),
    Case("volume-new", "FROM busybox\nVOLUME /v\nRUN echo b >/v/b\n"),
    Case("workdir-made", "FROM busybox\nWORKDIR /x/y\nRUN pwd\nWORKDIR /etc\nWORKDIR /x\n"),
    Case("workdir-through-link", "FROM busybox\nRUN ln -s /var /v && ln -s ../../../../tmp /t\nWORKDIR /v/new\nWORKDIR /t/new\n"),
    Case("copy-file", "FROM busybox\nCOPY f /\nCOPY f /g\nCOPY f /h/\nCOPY f /i/j/k\nCOPY f bin\nCOPY f ./\n", _TREE),
    Case("copy-directory", "FROM busybox\nCOPY d /x\nCOPY d /y/\nCOPY d/ /z\nCOPY d/sub /bin\nCOPY . /all/\n", _TREE),
    Case("copy-over", "FROM busybox\nCOPY d /x\nRUN rm /x/a && mkdir /x/a && ln -sf /tmp /x/sub2 && chmod 700 /x\nCOPY d/sub /x/sub\nCOPY f /x/run.sh\n", _TREE),
    Case("copy-tree-over-files", "FROM busybox\nRUN mkdir -p /x/a && echo >/x/a/b && ln -s /etc /x/sub\nCOPY d /x\n", _TREE),
    Case("copy-file-over-directory", "FROM busybox\nRUN mkdir -p /x/f\nCOPY f /x\n", _TREE),
    Case("copy-directory-over-file", "FROM busybox\nCOPY d /etc/passwd\n", _TREE),
    Case("copy-links", "FROM busybox\nCOPY l /a\nCOPY l /b/\nCOPY ld /c\nCOPY ld/a /e\nCOPY d/absolute /f\n", _TREE),
    Case("copy-dangling", "FROM busybox\nCOPY d/dangling /a\n", _TREE),
    Case("copy-into-links", "FROM busybox\nRUN ln -s /var /v; ln -s ../../../../../tmp /t; ln -s file /tmp/l\nCOPY f /v/\nCOPY f /t/x\nCOPY d /v\nCOPY f /tmp/l\n", _TREE),
    Case("copy-several", "FROM busybox\nCOPY f g d /x/\nCOPY [\"f\", \"l\", \"/y/\"]\n", _TREE),
    Case("copy-several-no-slash", "FROM busybox\nCOPY f g /x\n", _TREE),
    Case("copy-wildcards", "FROM busybox\nCOPY ? /x/\nCOPY d/*u* /y/\nCOPY d/[ab] /z/\nCOPY */sub /q/\n", _TREE),
    Case("copy-no-match", "FROM busybox\nCOPY *.nope /x/\n", _TREE),
    Case("copy-missing", "FROM busybox\nCOPY nope /x/\n", _TREE),
    Case("copy-missing-below", "FROM busybox\nCOPY d/nope/x /x/\n", _TREE),
    Case("copy-outside", "FROM busybox\nCOPY ../f /x/\n", _TREE),
    Case("copy-absolute", "FROM busybox\nCOPY /f /d/a /x/\nCOPY ./f /y\nCOPY d/../f /z\n", _TREE),
    Case("copy-url", "FROM busybox\nCOPY http://127.0.0.1/x /x\n", _TREE),
    Case("copy-workdir", "FROM busybox\nWORKDIR /w\nCOPY f .\nCOPY f x/\nCOPY f ../y\nCOPY d .\nCOPY f ./z/\n", _TREE),
    Case("copy-variables", "FROM busybox\nENV n=f t=/x\nARG u=nobody\nCOPY --chown=$u:staff $n $t/\n", _TREE),
    Case("copy-chown", "FROM busybox\nCOPY --chown=nobody:staff d /x\nCOPY --chown=7 f /y/z/\nCOPY --chown=7:nogroup f /w\n", _TREE),
    Case("copy-chown-name-alone", "FROM busybox\nCOPY --chown=root f /x\nCOPY --chown=nobody f /y\n", _TREE),
    Case("copy-chown-unknown", "FROM busybox\nCOPY --chown=nope f /x\n", _TREE),
    Case("add-plain", "FROM busybox\nADD f /x/\nADD d /y\nADD --chown=5:6 f /z\n", _TREE),
    Case("add-archives", "FROM busybox\nADD a.tar /t\nADD a.tgz /g/\nADD a.bz2 /b\nADD a.xz /x/y/z\nADD plain.gz /p\nCOPY a.tgz /c/\nADD --chown=3:4 a.tar /o\n", {
        "a.tar": _ARCHIVE, "a.tgz": gzip.compress(_ARCHIVE, mtime=0), "a.bz2": bz2.compress(_ARCHIVE),
        "a.xz": lzma.compress(_ARCHIVE), "plain.gz": gzip.compress(b"no archive", mtime=0)}),
    Case("add-archive-over", "FROM busybox\nRUN mkdir -p /t/top/file /t/deep && echo x >/t/deep/er && chmod 711 /t/top && ln -s /tmp /t/link\nADD a.tar /t\n", {"a.tar": _ARCHIVE}),
    Case("add-hostile-archive", "FROM busybox\nADD a.tar /t/\n", {"a.tar": tar({
        "../../up": "x", "/abs": "y", "l": link("/etc"), "l/within": "z", "m": link("../../../tmp"), "m/too": "w"})}),
    Case("from-stages", "FROM busybox AS one\nRUN mkdir /d && echo a >/d/a && chown -R 5:6 /d && chmod 700 /d/a\nFROM busybox\nCOPY --from=one /d /x\nCOPY --from=0 /d/a /y\nCOPY --from=one --chown=1:2 /d/a /z\nCOPY --from=busybox /etc/passwd /p\nCOPY --from=one d/* /w/\nCOPY --from=one /bin/sh /s\n"),
    Case("from-stage-missing", "FROM busybox AS one\nFROM busybox\nCOPY --from=one /nope /x\n"),
    Case("from-index-out-of-bounds", "FROM busybox\nCOPY --from=7 /x /y\n"),
    Case("from-itself", "FROM busybox\nCOPY --from=0 /x /y\n"),
    Case("stage-twice", "FROM busybox AS a\nFROM busybox AS a\n"),
    Case("stage-on-stage", "FROM busybox AS a\nENV x=1\nRUN echo hi >/x\nFROM a AS b\nRUN cat /x; echo $x\n"),
    Case("target", "FROM busybox AS a\nRUN true\nFROM busybox AS b\nRUN false\n", options={"target": "A"}),
    Case("target-number", "FROM busybox\nFROM busybox\n", options={"target": "0"}),
    Case("target-missing", "FROM busybox\n", options={"target": "nope"}),
    Case("scratch", 'FROM scratch\nCOPY f /\nCMD ["/f"]\n', _TREE),
    Case("scratch-alone", "FROM scratch\n"),
    Case("labels", "FROM busybox\nLABEL a=1\n", options={"labels": {"b": "2 3", "a": "$x"}}),
    Case("quiet", "FROM busybox\nRUN echo nothing of this\n", options={"quiet": True}),
    Case("quiet-fails", "FROM busybox\nRUN echo all of this; exit 4\n", options={"quiet": True}),
    Case("dockerignore-in-a-tar", "FROM busybox\nCOPY . /x/\n", {".dockerignore": "Dockerfile\n.dockerignore\nf\n", "f": "still there"}),
    Case("blank-base", "FROM ${nothing}\n"),
    Case("bad-substitution", "FROM busybox\nENV a=${x^y}\n"),
    Case("open-quote", 'FROM busybox\nENV a="x\n'),
    Case("open-brace", "FROM busybox\nENV a=${x\n"),
    Case("required-variable", "FROM busybox\nENV a=${x:?is needed}\n"),
    Case("bad-signal", "FROM busybox\nSTOPSIGNAL FOO\n"),
    Case("bad-port", "FROM busybox\nEXPOSE foo\n"),
    Case("run-mount", "FROM busybox\nRUN --mount=type=tmpfs,target=/x true\n"),
    Case("unknown-user", "FROM busybox\nUSER nope\nRUN id\n"),
    Case("unknown-instruction", "FROM busybox\nFOO bar\n"),
    Case("unknown-instruction-first", "FOO bar\n"),
    Case("no-stage", "RUN x\n"),
    Case("from-two-words", "FROM busybox AS\n"),
    Case("bad-stage-name", "FROM busybox AS 1x\n"),
    Case("copy-one-word", "FROM busybox\nCOPY x\n"),
    Case("onbuild-from", "FROM busybox\nONBUILD FROM x\n"),
    Case("onbuild-onbuild", "FROM busybox\nONBUILD ONBUILD RUN x\n"),
    Case("healthcheck-kind", "FROM busybox\nHEALTHCHECK FOO x\n"),
    Case("healthcheck-flag", "FROM busybox\nHEALTHCHECK --foo=1 CMD x\n"),
    Case("healthcheck-short", "FROM busybox\nHEALTHCHECK --interval=1us CMD x\n"),
    Case("healthcheck-retries", "FROM busybox\nHEALTHCHECK --retries=0 CMD x\n"),
    Case("healthcheck-duration", "FROM busybox\nHEALTHCHECK --interval=x CMD x\n"),
    Case("healthcheck-overridden", "FROM busybox\nHEALTHCHECK CMD a b\nHEALTHCHECK CMD c\n"),
    Case("shell-no-json", "FROM busybox\nSHELL x\n"),
    Case("workdir-nothing", "FROM busybox\nWORKDIR\n"),
    Case("env-nothing", "FROM busybox\nENV =x\n"),
    Case("env-mixed", "FROM busybox\nENV a=b c\n"),
    Case("arg-nothing", "FROM busybox\nARG\n"),
    Case("bad-json-is-shell", 'FROM busybox\nRUN ["echo", a]\n'),
    Case("empty-dockerfile", ""),
    Case("comments-only", "# nothing\n"),
    Case("bad-escape", "# escape=x\nFROM busybox\n"),
)  # fmt: skip
