-- migrate:up
-- Who the caller is, verified against the tables once per statement. Every policy rests on these.
-- Always call them as (select private.f()), here too: bare, they would run once per row.
set local role neurant_owner;

create function private.company_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select case current_setting('role')
    when 'authenticated' then (
      select u.company_id
      from public.users u
      join public.companies c on c.id = u.company_id
      where u.company_id = (select (private.claims() ->> 'company_id')::uuid)
        and u.auth_user_id = (select (private.claims() ->> 'sub')::uuid)
        and u.is_active and c.subscription_status <> 'cancelled')
    when 'visitor' then (
      select v.company_id
      from public.visitor_sessions v
      join public.companies c on c.id = v.company_id
      where v.token_digest = (select decode(private.claims() ->> 'visitor', 'hex'))
        and v.expires_at > now() and c.subscription_status <> 'cancelled')
    when 'neurant_worker' then (
      select c.id
      from public.companies c
      where c.id = (select (private.claims() ->> 'company_id')::uuid)
        and session_user = 'neurant_jobs' and c.subscription_status <> 'cancelled')
  end
$$;
comment on function private.company_id() is
  'The company of the verified caller, or null: then no policy shows or takes a row. Definer: it must read users and companies that the caller may not see.';

create function private.user_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select u.id
  from public.users u
  where current_setting('role') = 'authenticated'
    and u.company_id = (select private.company_id())
    and u.auth_user_id = (select (private.claims() ->> 'sub')::uuid)
$$;
comment on function private.user_id() is 'The verified staff member, or null. Definer, as company_id().';

create function private.user_role() returns public.user_role_enum
language sql stable security definer set search_path = '' as $$
  select u.role
  from public.users u
  where current_setting('role') = 'authenticated'
    and u.company_id = (select private.company_id())
    and u.auth_user_id = (select (private.claims() ->> 'sub')::uuid)
$$;
comment on function private.user_role() is 'The verified staff member''s role, or null. Definer, as company_id().';

create function private.sees_all_chatbots() returns boolean
language sql stable set search_path = '' as $$
  select coalesce(private.user_role() in ('owner', 'administrador', 'supervisor'), false)
$$;

create function private.manages_company() returns boolean
language sql stable set search_path = '' as $$
  select coalesce(private.user_role() in ('owner', 'administrador'), false)
$$;

create function private.my_chatbot_ids() returns uuid[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(o.chatbot_id), '{}')
  from public.chatbot_operators o
  where o.company_id = (select private.company_id())
    and o.operator_id = (select private.user_id()) and o.is_active
$$;
comment on function private.my_chatbot_ids() is
  'The bots that an operador works for. Definer: policies of other tables rest on it.';

create function private.my_conversation_ids() returns uuid[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(c.id), '{}')
  from public.conversations c
  where c.company_id = (select private.company_id())
    and c.assigned_operator_id = (select private.user_id())
$$;
comment on function private.my_conversation_ids() is
  'Conversations that are assigned to the caller now. Definer: the policies of messages rest on it.';

create function private.visitor_session_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select v.id
  from public.visitor_sessions v
  where current_setting('role') = 'visitor'
    and v.company_id = (select private.company_id())
    and v.token_digest = (select decode(private.claims() ->> 'visitor', 'hex'))
$$;
comment on function private.visitor_session_id() is
  'The verified visitor''s session, or null. Definer, as company_id().';

create function private.visitor_conversation_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select c.id
  from public.visitor_sessions v
  join public.conversations c
    on c.company_id = v.company_id and c.channel_account_id = v.channel_account_id
    and c.end_user_id = v.id::text
  where v.company_id = (select private.company_id()) and v.id = (select private.visitor_session_id())
  order by c.started_at desc, c.id desc
  limit 1
$$;
comment on function private.visitor_conversation_id() is
  'The one conversation that a visitor sees: the newest of the session. Definer, as company_id().';

grant execute on function
  private.company_id(), private.user_id(), private.user_role(), private.sees_all_chatbots(),
  private.manages_company(), private.my_chatbot_ids(), private.my_conversation_ids(),
  private.visitor_session_id(), private.visitor_conversation_id()
  to neurant_router, neurant_worker, authenticated, visitor;

-- Row level security: enabled and forced everywhere, one policy per principal and command.
alter table public.companies enable row level security, force row level security;
alter table public.users enable row level security, force row level security;
alter table public.chatbots enable row level security, force row level security;
alter table public.chatbot_operators enable row level security, force row level security;
alter table public.channel_accounts enable row level security, force row level security;
alter table public.company_keys enable row level security, force row level security;
alter table public.login_sessions enable row level security, force row level security;
alter table public.visitor_sessions enable row level security, force row level security;
alter table public.conversations enable row level security, force row level security;
alter table public.messages enable row level security, force row level security;
alter table public.hitl_sessions enable row level security, force row level security;
alter table public.inbound_events enable row level security, force row level security;
alter table public.reply_requests enable row level security, force row level security;
alter table public.outbox enable row level security, force row level security;
alter table public.embedding_models enable row level security, force row level security;
alter table public.documents enable row level security, force row level security;
alter table public.document_chunks enable row level security, force row level security;
alter table public.knowledge_queries enable row level security, force row level security;

-- Staff -------------------------------------------------------------------------------------------
create policy staff_select on public.companies for select to authenticated
  using (id = (select private.company_id()));
create policy staff_select on public.users for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.manages_company())
      or id = (select private.user_id())
      or ((select private.user_role()) = 'supervisor' and role in ('supervisor', 'operador'))));
create policy staff_select on public.chatbots for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_select on public.chatbot_operators for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots()) or operator_id = (select private.user_id())));
create policy staff_select on public.channel_accounts for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
create policy staff_insert on public.channel_accounts for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_update on public.channel_accounts for update to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()))
  with check (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_select on public.company_keys for select to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_insert on public.company_keys for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_select on public.conversations for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or assigned_operator_id = (select private.user_id())));
create policy staff_select on public.messages for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.messages for insert to authenticated
  with check (company_id = (select private.company_id())
    and sender_type = 'human' and sender_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_select on public.hitl_sessions for select to authenticated
  using (company_id = (select private.company_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_select on public.inbound_events for select to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()));
create policy staff_select on public.outbox for select to authenticated
  using (company_id = (select private.company_id())
    and exists (select from public.conversations c
      where c.company_id = outbox.company_id and c.id = outbox.conversation_id));
create policy staff_select on public.reply_requests for select to authenticated
  using (company_id = (select private.company_id())
    and exists (select from public.conversations c
      where c.company_id = reply_requests.company_id and c.id = reply_requests.conversation_id));
create policy everybody_select on public.embedding_models for select
  to authenticated, neurant_worker, neurant_router using (true);
create policy staff_select on public.documents for select to authenticated
  using (company_id = (select private.company_id()));
create policy staff_insert on public.documents for insert to authenticated
  with check (company_id = (select private.company_id()) and (select private.sees_all_chatbots())
    and uploaded_by = (select private.user_id()));
create policy staff_update on public.documents for update to authenticated
  using (company_id = (select private.company_id()) and (select private.sees_all_chatbots()))
  with check (company_id = (select private.company_id()) and (select private.sees_all_chatbots()));
create policy staff_select on public.document_chunks for select to authenticated
  using (company_id = (select private.company_id()));
create policy staff_select on public.knowledge_queries for select to authenticated
  using (company_id = (select private.company_id()));

grant select on public.companies, public.users, public.chatbots, public.chatbot_operators,
  public.conversations, public.messages, public.hitl_sessions, public.inbound_events,
  public.outbox, public.reply_requests, public.embedding_models, public.documents,
  public.document_chunks, public.knowledge_queries, public.company_keys to authenticated;
grant select (company_id, id, chatbot_id, channel, routing_id, display_name, status, status_detail,
  created_at, updated_at) on public.channel_accounts to authenticated;
grant insert (company_id, id, chatbot_id, channel, routing_id, display_name, secret_digest,
  secrets_encrypted) on public.channel_accounts to authenticated;
grant update (display_name, status, status_detail, secret_digest, secrets_encrypted)
  on public.channel_accounts to authenticated;
grant insert (company_id, wrapped_key) on public.company_keys to authenticated;
-- Who speaks, the order and the delivery state are the database's to say, not the caller's.
grant insert (company_id, id, conversation_id, content) on public.messages to authenticated;
grant insert (company_id, id, chatbot_id, filename, original_filename, file_type, file_size_bytes,
  file_url, content_digest, title, description, tags, category, language, uploaded_by)
  on public.documents to authenticated;
grant update (chatbot_id, title, description, tags, category, language, retired_at)
  on public.documents to authenticated;

-- Visitor -----------------------------------------------------------------------------------------
create policy visitor_select on public.conversations for select to visitor
  using (company_id = (select private.company_id())
    and id = (select private.visitor_conversation_id()));
create policy visitor_select on public.messages for select to visitor
  using (company_id = (select private.company_id())
    and conversation_id = (select private.visitor_conversation_id()));
create policy visitor_select on public.reply_requests for select to visitor
  using (company_id = (select private.company_id())
    and conversation_id = (select private.visitor_conversation_id()));
grant select (company_id, id, status, is_hitl_active, assigned_operator_id, last_seq, fence)
  on public.conversations to visitor;
grant select (company_id, id, conversation_id, seq, content, message_type, sender_type, sender_id,
  external_message_id, status, knowledge_sources, created_at) on public.messages to visitor;
grant select (company_id, conversation_id, wanted_seq) on public.reply_requests to visitor;

-- Worker, for one company -------------------------------------------------------------------------
create policy worker_select on public.companies for select to neurant_worker
  using (id = (select private.company_id()));
create policy worker_select on public.users for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_select on public.chatbots for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_select on public.channel_accounts for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_select on public.company_keys for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_select on public.conversations for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_select on public.messages for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_select on public.outbox for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_select on public.reply_requests for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_select on public.documents for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_update on public.documents for update to neurant_worker
  using (company_id = (select private.company_id()))
  with check (company_id = (select private.company_id()));
create policy worker_select on public.document_chunks for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_insert on public.document_chunks for insert to neurant_worker
  with check (company_id = (select private.company_id()));
create policy worker_delete on public.document_chunks for delete to neurant_worker
  using (company_id = (select private.company_id()));
create policy worker_insert on public.knowledge_queries for insert to neurant_worker
  with check (company_id = (select private.company_id()));
grant select on public.companies, public.chatbots, public.channel_accounts, public.company_keys,
  public.conversations, public.messages, public.outbox, public.reply_requests, public.documents,
  public.document_chunks, public.embedding_models to neurant_worker;
grant select (company_id, id, first_name, last_name, email, role, is_active)
  on public.users to neurant_worker;
grant update (extracted_text, character_count, chunk_count, processing_status,
  processing_progress, processing_error, title) on public.documents to neurant_worker;
grant insert (company_id, document_id, content, chunk_index, character_count, embedding,
  embedding_model, page_number, section_title, context_before, context_after)
  on public.document_chunks to neurant_worker;
grant delete on public.document_chunks to neurant_worker;
grant insert (company_id, conversation_id, message_id, query_text, query_embedding, results_count,
  top_similarity_score, processing_time_ms) on public.knowledge_queries to neurant_worker;

-- Router: the security definer functions' owner. Exactly the tables and commands that they need.
create policy router_select on public.companies for select to neurant_router using (true);
create policy router_select on public.users for select to neurant_router using (true);
create policy router_update on public.users for update to neurant_router using (true) with check (true);
create policy router_select on public.chatbots for select to neurant_router using (true);
create policy router_update on public.chatbots for update to neurant_router using (true) with check (true);
create policy router_select on public.chatbot_operators for select to neurant_router using (true);
create policy router_select on public.channel_accounts for select to neurant_router using (true);
create policy router_select on public.login_sessions for select to neurant_router using (true);
create policy router_insert on public.login_sessions for insert to neurant_router with check (true);
create policy router_update on public.login_sessions for update to neurant_router using (true) with check (true);
create policy router_delete on public.login_sessions for delete to neurant_router using (true);
create policy router_select on public.visitor_sessions for select to neurant_router using (true);
create policy router_insert on public.visitor_sessions for insert to neurant_router with check (true);
create policy router_select on public.conversations for select to neurant_router using (true);
create policy router_insert on public.conversations for insert to neurant_router with check (true);
create policy router_update on public.conversations for update to neurant_router using (true) with check (true);
create policy router_select on public.messages for select to neurant_router using (true);
create policy router_insert on public.messages for insert to neurant_router with check (true);
create policy router_update on public.messages for update to neurant_router using (true) with check (true);
create policy router_select on public.hitl_sessions for select to neurant_router using (true);
create policy router_insert on public.hitl_sessions for insert to neurant_router with check (true);
create policy router_update on public.hitl_sessions for update to neurant_router using (true) with check (true);
create policy router_select on public.inbound_events for select to neurant_router using (true);
create policy router_insert on public.inbound_events for insert to neurant_router with check (true);
create policy router_select on public.reply_requests for select to neurant_router using (true);
create policy router_insert on public.reply_requests for insert to neurant_router with check (true);
create policy router_update on public.reply_requests for update to neurant_router using (true) with check (true);
create policy router_delete on public.reply_requests for delete to neurant_router using (true);
create policy router_select on public.outbox for select to neurant_router using (true);
create policy router_insert on public.outbox for insert to neurant_router with check (true);
create policy router_update on public.outbox for update to neurant_router using (true) with check (true);
create policy router_select on public.documents for select to neurant_router using (true);
create policy router_select on public.document_chunks for select to neurant_router using (true);

grant select on public.companies, public.users, public.chatbots, public.chatbot_operators,
  public.channel_accounts, public.login_sessions, public.visitor_sessions, public.conversations,
  public.messages, public.hitl_sessions, public.inbound_events, public.reply_requests,
  public.outbox, public.documents, public.document_chunks, public.embedding_models
  to neurant_router;
grant insert on public.login_sessions, public.visitor_sessions, public.conversations,
  public.messages, public.hitl_sessions, public.inbound_events, public.reply_requests,
  public.outbox to neurant_router;
grant update on public.conversations, public.messages, public.hitl_sessions,
  public.reply_requests, public.outbox to neurant_router;
grant update (last_seen_at) on public.login_sessions to neurant_router;
grant update (last_login_at, last_seen_at) on public.users to neurant_router;
grant update (channels) on public.chatbots to neurant_router;
grant delete on public.login_sessions, public.reply_requests to neurant_router;

-- Last: once the router owns them, the owner may no longer execute or grant them.
alter function private.company_id() owner to neurant_router;
alter function private.user_id() owner to neurant_router;
alter function private.user_role() owner to neurant_router;
alter function private.my_chatbot_ids() owner to neurant_router;
alter function private.my_conversation_ids() owner to neurant_router;
alter function private.visitor_session_id() owner to neurant_router;
alter function private.visitor_conversation_id() owner to neurant_router;

reset role;
-- migrate:down
