select bench.ingest(:batch);
