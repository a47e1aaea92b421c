-- migrate:up
-- A day is counted without reading all of the archives, as it is without all of the live rows.
set local role neurant_owner;

create index conversations_archived_started_idx
  on public.conversations_archived (company_id, started_at);
create index conversations_archived_ended_idx on public.conversations_archived (company_id, ended_at)
  where ended_at is not null;
create index hitl_sessions_archived_opened_idx
  on public.hitl_sessions_archived (company_id, opened_at);
create index hitl_sessions_archived_ended_idx
  on public.hitl_sessions_archived (company_id, ended_at) where ended_at is not null;
create index message_reactions_archived_newest_idx
  on public.message_reactions_archived (company_id, created_at);
create index knowledge_queries_archived_newest_idx
  on public.knowledge_queries_archived (company_id, created_at desc);

reset role;
-- migrate:down
