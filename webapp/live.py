"""Live frames: one reader of Redis Streams per process, fanned out in memory to whoever watches."""
