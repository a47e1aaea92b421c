-- migrate:up
-- What was archived counts like what was not.
set local role neurant_owner;

create or replace view private.fact_messages with (security_invoker = true) as
  select m.company_id, m.chatbot_id, m.conversation_id, m.created_at, m.sender_type,
    m.tokens_used, m.processing_time_ms
  from public.messages m
  union all
  select m.company_id, m.chatbot_id, m.conversation_id, m.created_at, m.sender_type,
    m.tokens_used, m.processing_time_ms
  from public.messages_archived m;
create or replace view private.fact_conversations with (security_invoker = true) as
  select c.company_id, c.id, c.chatbot_id, c.status, c.started_at, c.ended_at,
    c.session_duration_minutes, c.satisfaction_rating
  from public.conversations c
  union all
  select c.company_id, c.id, c.chatbot_id, c.status, c.started_at, c.ended_at,
    c.session_duration_minutes, c.satisfaction_rating
  from public.conversations_archived c;
create or replace view private.fact_hitl_sessions with (security_invoker = true) as
  select s.company_id, s.chatbot_id, s.conversation_id, s.status, s.opened_at, s.ended_at
  from public.hitl_sessions s
  union all
  select s.company_id, s.chatbot_id, s.conversation_id, s.status, s.opened_at, s.ended_at
  from public.hitl_sessions_archived s;
create or replace view private.fact_message_reactions with (security_invoker = true) as
  select r.company_id, r.chatbot_id, r.reaction_type, r.created_at
  from public.message_reactions r
  union all
  select r.company_id, r.chatbot_id, r.reaction_type, r.created_at
  from public.message_reactions_archived r;
create or replace view private.fact_knowledge_queries with (security_invoker = true) as
  select q.company_id, q.conversation_id, q.results_count, q.created_at
  from public.knowledge_queries q
  union all
  select q.company_id, q.conversation_id, q.results_count, q.created_at
  from public.knowledge_queries_archived q;

-- As the live ones: a day is counted without reading all of the past.
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
