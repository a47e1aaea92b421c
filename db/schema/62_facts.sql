-- Views of the facts that the figures are counted from: live rows and archived ones.

-- Statistics also count archived rows.
create view private.fact_messages with (security_invoker = true) as
  select m.company_id, m.chatbot_id, m.conversation_id, m.created_at, m.sender_type,
    m.tokens_used, m.processing_time_ms
  from public.messages m
  union all
  select m.company_id, m.chatbot_id, m.conversation_id, m.created_at, m.sender_type,
    m.tokens_used, m.processing_time_ms
  from public.messages_archived m;
grant select on private.fact_messages to neurant_router;

create view private.fact_conversations with (security_invoker = true) as
  select c.company_id, c.id, c.chatbot_id, c.status, c.started_at, c.ended_at,
    c.session_duration_minutes, c.satisfaction_rating
  from public.conversations c
  union all
  select c.company_id, c.id, c.chatbot_id, c.status, c.started_at, c.ended_at,
    c.session_duration_minutes, c.satisfaction_rating
  from public.conversations_archived c;
grant select on private.fact_conversations to neurant_router;

create view private.fact_hitl_sessions with (security_invoker = true) as
  select s.company_id, s.chatbot_id, s.conversation_id, s.status, s.opened_at, s.ended_at
  from public.hitl_sessions s
  union all
  select s.company_id, s.chatbot_id, s.conversation_id, s.status, s.opened_at, s.ended_at
  from public.hitl_sessions_archived s;
grant select on private.fact_hitl_sessions to neurant_router;

create view private.fact_message_reactions with (security_invoker = true) as
  select r.company_id, r.chatbot_id, r.reaction_type, r.created_at
  from public.message_reactions r
  union all
  select r.company_id, r.chatbot_id, r.reaction_type, r.created_at
  from public.message_reactions_archived r;
grant select on private.fact_message_reactions to neurant_router;

create view private.fact_knowledge_queries with (security_invoker = true) as
  select q.company_id, q.conversation_id, q.results_count, q.created_at
  from public.knowledge_queries q
  union all
  select q.company_id, q.conversation_id, q.results_count, q.created_at
  from public.knowledge_queries_archived q;
grant select on private.fact_knowledge_queries to neurant_router;
