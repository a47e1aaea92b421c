-- migrate:up transaction:false
-- The words of one company's chunks: an index that knows the company reads no other company's.
create index concurrently document_chunks_words_idx on public.document_chunks using gin (company_id extensions.uuid_ops, search);

-- migrate:down
