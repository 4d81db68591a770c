"""The formats, from the cards of readers and writers."""

from collections.abc import Sequence
from typing import Any

from exitwave.io import cards
from exitwave.io.readers.registry import available
from exitwave.io.writers import writer_cards


def listed() -> list[dict[str, Any]]:
    """One entry for each format, by name: what reads it, what writes it, which extra it needs and whether that is there."""
    readers = {card.name: card for card in cards()}
    writers = {card.name: card for card in writer_cards()}
    found = []
    for name in sorted(readers | writers):
        reader, writer = readers.get(name), writers.get(name)
        extensions = [*(reader.extensions if reader else ()), *(writer.extensions if writer else ())]
        found.append({
            "name": name, "description": reader.description if reader else writer.description if writer else "",
            "extensions": list(dict.fromkeys(extensions)), "read": reader is not None, "write": writer is not None,
            "writes_types": list(writer.types) if writer and writer.types else None,
            "inside": reader.inside if reader else "", "folder": bool(reader and reader.folder),
            "extra": reader.extra if reader else "", "available": reader is None or available(reader), "tested_on": reader.wrote if reader else "",
        })
    return found


def describe(found: Sequence[dict[str, Any]]) -> str:
    """The table for people."""
    width = max(len(item["name"]) for item in found) + 2
    lines = []
    for item in found:
        can = "read, write" if item["read"] and item["write"] else "read" if item["read"] else "write"
        lack = "" if item["available"] else f"  (needs pip install 'exitwave[{item['extra']}]')"
        lines.append(f"{item['name']:<{width}}{can:<13}{item['description']}  {' '.join(item['extensions'])}{lack}")
    return "\n".join(lines)
