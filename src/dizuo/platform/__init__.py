"""Settings, database, blobs, durable jobs, identity, telemetry, the language catalogue."""
