-- migrate:up transaction:false
-- The day's conversations, by when they began.
create index concurrently conversations_started_idx on public.conversations (company_id, started_at);
-- migrate:down
