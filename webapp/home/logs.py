"""One JSON object a line: control characters are escaped, and secrets are not written."""

import json
import logging
import re
from datetime import UTC, datetime

SECRETS = [
    (re.compile(r"tb_[0-9A-Za-z]{20,}"), "tb_[hidden]"),
    (re.compile(r"(/(?:sign-in|invitations)/)[\w-]{20,}"), r"\1[hidden]"),
    (re.compile(r"(?i)(authorization|cookie|x-csrftoken)(['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n,}]+"), r"\1\2[hidden]"),
    (re.compile(r"(sessionid|csrftoken)=\w+"), r"\1=[hidden]"),
    (re.compile(r"(?<=[\w/])\?[^\s\"'<>=?]*=[^\s\"'<>]*"), "?[hidden]"),  # what somebody looked for, and signatures
    (re.compile(r"(\w+://[^:/@\s]*:)[^@/\s]+@"), r"\1[hidden]@"),  # a password in the address of a database or of Redis
]


def redacted(text: str) -> str:
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": redacted(record.getMessage()),
        }
        if record.exc_info:
            line["trace"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line)
