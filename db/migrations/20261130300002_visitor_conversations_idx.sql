-- migrate:up transaction:false
-- The visitors' conversations that count for a company's hour.
create index concurrently visitor_sessions_conversation_idx on public.visitor_sessions (company_id, conversation_at) where conversation_at is not null;
-- migrate:down
