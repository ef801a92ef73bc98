"""One round: codecs, robust rules, reduction, agreement."""
