"""Reading the log as somebody who believes nothing but the deployment's fingerprint: verifying it, and its proofs.

A library for the command line, the witness and clients. It reads Kafka through `keyfold.bus`, or an exported archive
without any service; it holds no key, writes nothing, and knows neither tokens nor a database driver.
"""
