"""The table of the program's commands and groups: name, place, and the first sentence of the help, in the help's order.

Groups with many modules have such a table of their own (`key_commands`, `registry`, `audit`).
"""

from typing import Final

from keyfold.cli.lazy import Lazy

COMMANDS: Final = (
    Lazy(
        "init",
        "lifecycle:init",
        "Hold the root ceremony: tokens, keys, two administrators, and the first records of the log.",
    ),
    Lazy(
        "up",
        "lifecycle:up",
        "Start Kafka, Postgres and all services, and hold the root ceremony if it has not been held; then return.",
    ),
    Lazy("down", "lifecycle:down", "Stop everything that runs in the data directory, and nothing else."),
    Lazy("reset", "lifecycle:reset", "Stop everything and DELETE the data directory: log, tokens, keys, database."),
    Lazy("status", "status:status", "Show the health of every part, each service's lag and the registry revision."),
    Lazy(
        "doctor",
        "doctor:doctor",
        "Look for what is wrong: programs, disk, ports, processes, brokers, database, clock, certificates, keys, lag.",
    ),
    Lazy(
        "demo",
        "demo.command:demo",
        "Show the main job on real files: protect them, rotate the key, bring them back, and prove what is claimed.",
    ),
    Lazy(
        "login",
        "issuers:login",
        "Prove with an issuer's token who one is; writes an identity file, to act --as until the token ends.",
    ),
    Lazy("encrypt", "protect:encrypt", "Encrypt a file or standard input."),
    Lazy("decrypt", "protect:decrypt", "Decrypt what `encrypt` or the SDK made; the same --context is needed."),
    Lazy(
        "re-encrypt",
        "protect:re_encrypt",
        "Encrypt a `--direct` ciphertext again under its key's newest version, without showing the plaintext to "
        "anybody.",
    ),
    Lazy(
        "rewrap",
        "rewrap.command:rewrap",
        "Encrypt many ciphertexts again, under the key's newest version or another key; nobody sees a plaintext.",
    ),
    Lazy("data-key", "protect:data_key", "Make a data key, encrypted under KEY; `decrypt` gives it back."),
    Lazy(
        "data-key-pair",
        "agreement:data_key_pair",
        "Make a key pair whose private key is encrypted under KEY; `decrypt` gives it back (PKCS #8, DER).",
    ),
    Lazy(
        "random",
        "protect:random",
        "Random bytes from the token: hexadecimal, or raw into a file (0600) with --output.",
    ),
    Lazy("sign", "signing:sign", "Sign with the key's current version."),
    Lazy("verify", "signing:verify", "Verify a signature."),
    Lazy("mac", "signing:mac", "Make a message authentication code (HMAC) with the key's current version."),
    Lazy("verify-mac", "signing:verify_mac", "Verify a message authentication code."),
    Lazy(
        "derive",
        "agreement:derive",
        "Agree on a shared secret (ECDH): the raw x-coordinate, of which keys are then derived.",
    ),
    Lazy(
        "encapsulate",
        "agreement:encapsulate",
        "Make a fresh shared secret and what encapsulates it (ML-KEM), which `decapsulate` turns back into the secret.",
    ),
    Lazy("decapsulate", "agreement:decapsulate", "Turn an encapsulation (ML-KEM) into the shared secret."),
    Lazy(
        "import",
        "key_import:import_",
        "Import key material into a key of origin EXTERNAL: a secret, or a private key (PKCS #8), from a file.",
    ),
    Lazy(
        "capabilities",
        "capabilities:capabilities",
        "Show which key specs, usages and algorithms are offered, at which protection level.",
    ),
    Lazy(
        "who-could",
        "time_travel.who_could:command",
        "Tell who could have done something with a key at a time: by which policies, grants, rights and approvals.",
    ),
    Lazy(
        "history",
        "time_travel.history:command",
        "Tell the life of a key: versions, states, policies, grants, names, proposals, denials, compromise, and its "
        "use.",
    ),
    Lazy(
        "replay",
        "time_travel.replay:command",
        "Decide every logged command again, in the world of its time, and report each decision that differs.",
    ),
    Lazy("key", "key_commands:app", "Create keys and lead them through their life."),
    Lazy("alias", "registry:aliases", "Names for keys."),
    Lazy("principal", "principals:app", "Who may sign commands."),
    Lazy("issuer", "issuers:app", "Whose identity tokens are accepted."),
    Lazy("policy", "registry:policies", "Who may do what: Cedar policies."),
    Lazy("grant", "grants:app", "Who may do what with one key, until when and how often."),
    Lazy("proposal", "proposals:app", "Commands that need approvals."),
    Lazy("limit", "limits:app", "How much may be done: rate limits and quotas."),
    Lazy("hsm", "hsm:app", "Storage epochs and the HSM worker's token."),
    Lazy("events", "trail:app", "What happened: the audit trail."),
    Lazy("alerts", "alerts:app", "What analytics found, and what is done about it."),
    Lazy("analytics", "analytics:app", "Unusual use: its detectors, and history seen through them."),
    Lazy("audit", "audit:app", "What the log proves: verify it, prove events, keep copies."),
    Lazy("witness", "witness:app", "Cosign the log's checkpoints, elsewhere."),
    Lazy("projections", "operations:projections", "What the projections know, and rebuilding them."),
    Lazy("backup", "backup:app", "Copies of what cannot be derived, and restoring them."),
    Lazy("database", "database:app", "Roles, rights and migrations in Postgres."),
    Lazy("topics", "operations:topics", "The topics of the cluster."),
    Lazy("ceremony", "operations:ceremony", "What needs the root identity."),
)
