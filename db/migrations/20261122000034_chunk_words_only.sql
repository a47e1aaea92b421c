-- migrate:up transaction:false
-- document_chunks_words_idx serves instead.
drop index concurrently public.document_chunks_search_idx;

-- migrate:down
