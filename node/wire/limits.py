"""Largest accepted sizes, in bytes unless the name says otherwise. docs/protocol.md lists them."""

PARTS_MAX = 64
"""Parts of an update, and results of a round."""
PAYLOAD_BYTES_MAX = 64 * 1024 * 1024
"""One round message with its parts; the transport holds no larger request."""
SIGNED_BODY_BYTES_MAX = 8 * 1024 * 1024
"""Body of one signed message: a plan of 64 electors stays below it."""
DECISION_BYTES_MAX = 64 * 1024
COMMITMENT_BYTES_MAX = 16 * 1024
CLEARED_MAX = 16
"""Contributions that one commitment clears."""
DECISION_CLEARED_MAX = 64
"""Contributions that one decision clears."""
REASON_BYTES_MAX = 32
RULE_PATTERN = r"^[a-z][a-z0-9_]{0,31}( \| [a-z][a-z0-9_]{0,31}){0,3}\Z"
"""The one spelling of a rule: up to four names, with `` | `` between them."""
FETCH_IDS_MAX = 64
CHAIN_CERTIFICATES_MAX = 64
CHAIN_REPLY_BYTES_MAX = CHAIN_CERTIFICATES_MAX * (DECISION_BYTES_MAX + 8 * 1024)
STATE_CHUNKS_MAX = 65_536
"""Chunks of one state: 16 GiB at 256 KiB each."""
CHUNKS_ASKED_MAX = 4096
SQUARE_NORM_MAX = 2**63
EXPONENT_MIN, EXPONENT_MAX = -162, 114
"""Exponents that a float32 row can have: its largest magnitude is in [2^-149, 2^128)."""
SKETCHES_BYTES_MAX = 40 * 1024
"""Sketches of all parts of one contributor: 32 KiB, and their places."""
EVIDENCE_BYTES_MAX = 256 * 1024
JUDGED_BYTES_MAX = EVIDENCE_BYTES_MAX - 16 * 1024
"""A screen, result or sketch that can be judged: the rest is room for findings."""
EVIDENCE_LIST_BYTES_MAX = 6 * 1024 * 1024
"""All evidence of one list: more than the f = 21 liars whom 64 electors bear can need."""
PROBATION_PLACES_MAX = 8
"""Strangers on probation at once."""
PROBATION_PASSED_MAX = 64
"""Audits that one decision can pass: those of 8 places and 8 rounds."""
PROBATION_LISTED_MAX = PROBATION_PLACES_MAX + PROBATION_PASSED_MAX
ROUND_MAX = 2**48
VIEW_MAX = 2**31 - 1

# Shared memory (docs/protocol.md, "Shared memory").
BATCH_ENTRIES_MAX = 4096
KEY_DIMS_MAX = 4096
ENTRY_PAYLOAD_BYTES_MAX = 1024
BATCH_HEADER_BYTES_MAX = 256
BATCH_BODY_BYTES_MAX = 1024 * 1024
BATCH_BYTES_MAX = BATCH_BODY_BYTES_MAX + 1024
"""An encoded batch with its header and signature."""
SEQ_MAX = 2**48
"""Batches of one author, and entries of one author."""
AUTHORS_MAX = 64
MEMORY_LINES_BYTES_MAX = 16 * 1024
MEMORY_REPLY_BYTES_MAX = 80 * 1024
BATCHES_REQUEST_BYTES_MAX = 8 * 1024
QUESTION_BYTES_MAX = 1024 * 1024
"""What one workload asks another ..."""
QUESTION_REQUEST_BYTES_MAX = QUESTION_BYTES_MAX + 64
ANSWER_BYTES_MAX = 2 * 1024 * 1024
"""... and what it is answered."""
PULL_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of one author that one request may ask for."""
