-- migrate:up transaction:false
-- The day's conversations, by when they ended.
create index concurrently conversations_ended_idx on public.conversations (company_id, ended_at)
  where ended_at is not null;
-- migrate:down
