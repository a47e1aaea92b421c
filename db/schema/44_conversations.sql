-- Conversations, and the contacts who write in them.

create table public.contacts (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  chatbot_id uuid not null,
  end_user_id varchar(255) not null,
  channel public.conversation_channel_enum not null,
  name varchar(255),
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  erased_at timestamptz,
  primary key (company_id, id),
  unique (company_id, channel_account_id, end_user_id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (last_seen_at >= first_seen_at),
  check (erased_at is null or name is null)
);
comment on table public.contacts is
  'One row for each person on a channel, maintained from conversations when one begins and when it ends, never by a message.';
create index contacts_chatbot_idx on public.contacts (company_id, chatbot_id, last_seen_at desc);
-- The company's contacts, by when they were last active.
create index contacts_newest_idx on public.contacts (company_id, last_seen_at desc);

alter table public.contacts enable row level security, force row level security;
create policy staff_select on public.contacts for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or id = any ((select private.my_contact_ids())::uuid[])));
create policy router_select on public.contacts for select to neurant_router using (true);
create policy router_insert on public.contacts for insert to neurant_router with check (true);
create policy router_update on public.contacts for update to neurant_router using (true) with check (true);
grant select on public.contacts to authenticated;
grant select, insert, update on public.contacts to neurant_router;

create table public.conversations (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  channel_account_id uuid not null,
  end_user_id varchar(255) not null,
  end_user_name varchar(255),
  end_user_avatar text,
  channel public.conversation_channel_enum not null,
  status public.conversation_status_enum not null default 'active',
  is_hitl_active boolean not null default false,
  assigned_operator_id uuid,
  hitl_activated_at timestamptz,
  hitl_reason text,
  message_count integer not null default 0,
  bot_message_count integer not null default 0,
  human_message_count integer not null default 0,
  avg_response_time_ms integer default 0,
  started_at timestamptz not null default now(),
  last_message_at timestamptz not null default now(),
  last_message_slot timestamptz,
  ended_at timestamptz,
  session_duration_minutes integer,
  satisfaction_rating integer check (satisfaction_rating between 1 and 5),
  satisfaction_comment text,
  context_data jsonb default '{}',
  conversation_summary text,
  last_seq bigint not null default 0,
  fence bigint not null default 0,
  response_time_total_ms bigint not null default 0,
  response_time_count integer not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, id, chatbot_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  foreign key (company_id, assigned_operator_id) references public.users (company_id, id),
  check ((status = 'active') = (ended_at is null)),
  -- Nobody attends a finished conversation.
  constraint conversations_finished_check
    check (status = 'active' or not is_hitl_active),
  constraint conversations_context_check check (jsonb_typeof(context_data) = 'object'),
  constraint conversations_end_check check (ended_at >= started_at),
  constraint conversations_counts_check check (
    message_count >= 0 and bot_message_count >= 0 and human_message_count >= 0)
) with (fillfactor = 70);
comment on column public.conversations.avg_response_time_ms is
  'Average processing_time_ms of the bot''s messages, exact at commit.';
comment on column public.conversations.last_message_at is
  'created_at of the newest message, or started_at; an imported message moves it forwards only.';
comment on column public.conversations.last_message_slot is
  'last_message_at, rounded down to ten minutes. The inbox''s index holds this column, so that most messages change no index of conversations: order by last_message_slot desc, last_message_at desc.';
comment on column public.conversations.session_duration_minutes is
  'From the beginning to the last message, in whole minutes; written when the conversation ends.';
comment on column public.conversations.context_data is
  'What the conversation established, by name: the customer''s name, the branch, a preference, and facts of an import. A reply adds to it (private.finish_reply); the next reply and the operator read it.';
comment on column public.conversations.last_seq is
  'Sequence number of the newest message. Order and resumption depend on it, never on a clock.';
comment on column public.conversations.fence is
  'Fencing token: it rises whenever a person takes or leaves the conversation. A bot message that was begun under an older number is not sent.';
comment on column public.conversations.response_time_total_ms is
  'Sum of processing_time_ms of the bot''s messages, from which avg_response_time_ms is computed exactly.';
comment on column public.conversations.response_time_count is
  'The number of the bot''s messages that have a processing_time_ms.';
-- A conversation may follow a resolved one, so the key is unique among open conversations only.
create unique index conversations_open_key
  on public.conversations (company_id, channel_account_id, end_user_id) where status = 'active';
-- An end user's conversations, newest first: for the visitor, and for the customer's history in the
-- inbox.
create index conversations_end_user_idx
  on public.conversations (company_id, channel_account_id, end_user_id, started_at desc);
-- The inbox, newest first, by an index that most messages do not change.
create index conversations_inbox_idx
  on public.conversations (company_id, last_message_slot desc);
create index conversations_hitl_idx
  on public.conversations (company_id, hitl_activated_at) where is_hitl_active;
-- A bot's conversations, by an index that no message changes.
create index conversations_chatbot_idx
  on public.conversations (company_id, chatbot_id);
create index conversations_operator_idx
  on public.conversations (company_id, assigned_operator_id) where assigned_operator_id is not null;
-- The conversations that began on a day.
create index conversations_started_idx on public.conversations (company_id, started_at);
-- The conversations that ended on a day.
create index conversations_ended_idx on public.conversations (company_id, ended_at)
  where ended_at is not null;

alter table public.conversations enable row level security, force row level security;
create policy staff_select on public.conversations for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or assigned_operator_id = (select private.user_id())));
create policy visitor_select on public.conversations for select to visitor
  using (company_id = (select private.company_id())
    and id = (select private.visitor_conversation_id()));
create policy worker_select on public.conversations for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.conversations for select to neurant_router using (true);
create policy router_insert on public.conversations for insert to neurant_router with check (true);
create policy router_update on public.conversations for update to neurant_router using (true) with check (true);
-- Archiving deletes rows from the live tables; restoring inserts them again.
create policy router_delete on public.conversations for delete to neurant_router using (true);
grant select on public.conversations to authenticated, neurant_worker;
grant select (company_id, id, status, is_hitl_active, assigned_operator_id, last_seq, fence) on
  public.conversations to visitor;
grant select, insert, update, delete on public.conversations to neurant_router;

create trigger set_updated_at before update on public.conversations
  for each row when (new.updated_at = old.updated_at)
  execute function private.update_updated_at_column();

create function private.finish_conversation() returns trigger
language plpgsql set search_path = '' as $$
begin
  if not (old.status = 'active' and new.status in ('resolved', 'abandoned')
    or old.status in ('resolved', 'abandoned') and new.status = 'archived') then
    raise exception 'a conversation that is % cannot become %', old.status, new.status
      using errcode = 'check_violation', constraint = 'conversations_status_order';
  end if;
  if old.status = 'active' then
    new.ended_at := coalesce(new.ended_at, now());
    -- How long people talked; the silence that ended it is no part of it.
    new.session_duration_minutes := greatest(
      0, floor(extract(epoch from new.last_message_at - new.started_at) / 60));
  end if;
  return new;
end $$;
comment on function private.finish_conversation() is
  'Enforces the order active, then resolved or abandoned, then archived: a finished conversation is never opened again, and the next message opens a new one.';

create trigger finish_conversation before update of status on public.conversations
  for each row when (old.status <> new.status) execute function private.finish_conversation();

create function private.close_idle_conversations(
  p_now timestamptz default now(), p_limit integer default 500)
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_closed integer;
begin
  with idle as (
    select c.company_id, c.id
    from public.conversations c
    where c.status = 'active' and not c.is_hitl_active
      -- WhatsApp lets a business answer freely for 24 hours; after that it is another conversation.
      and c.last_message_at <= p_now - interval '24 hours'
      and not private.has_open_work(c.company_id, c.id)
    order by c.last_message_at
    limit p_limit
    for update skip locked
  )
  update public.conversations c
  set ended_at = p_now,
    status = case (
      select m.sender_type from public.messages m
      where m.company_id = c.company_id and m.conversation_id = c.id
      order by m.seq desc limit 1)
      when 'bot' then 'resolved'::public.conversation_status_enum
      when 'human' then 'resolved'
      when 'system' then 'resolved'
      else 'abandoned' end
  from idle
  where c.company_id = idle.company_id and c.id = idle.id;
  get diagnostics v_closed = row_count;
  return v_closed;
end $$;
comment on function private.close_idle_conversations(timestamptz, integer) is
  'Ends up to p_limit conversations without messages for 24 hours and without open work, over all companies, the longest silent first; returns the number. A conversation becomes resolved if the last message was ours, abandoned if it was the end user''s. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.close_idle_conversations(timestamptz, integer) to neurant_jobs;

create function private.keep_contact() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.contacts as k (company_id, channel_account_id, chatbot_id, end_user_id,
    channel, name, first_seen_at, last_seen_at)
  values (new.company_id, new.channel_account_id, new.chatbot_id, new.end_user_id, new.channel,
    new.end_user_name, least(new.started_at, new.last_message_at),
    greatest(new.started_at, new.last_message_at))
  on conflict (company_id, channel_account_id, end_user_id) do update
  set first_seen_at = least(k.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(k.last_seen_at, excluded.last_seen_at),
    name = case
      when k.erased_at is not null then null
      when excluded.last_seen_at >= k.last_seen_at then coalesce(excluded.name, k.name)
      else coalesce(k.name, excluded.name) end;
  return null;
end $$;
comment on function private.keep_contact() is
  'Maintains contacts from conversations. Security definer, called by a trigger, because no role may write contacts directly.';

-- For each row, because ingest's upsert then fires it only for new conversations, not for every
-- batch.
create trigger keep_contact after insert on public.conversations
  for each row execute function private.keep_contact();

create trigger keep_contact_at_end after update of status on public.conversations
  for each row when (old.status = 'active' and new.status <> 'active')
  execute function private.keep_contact();

create function private.close_conversation(p_conversation uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.reply');
  v_user uuid := private.user_id();
  v_status public.conversation_status_enum;
  v_session public.hitl_sessions;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  select c.status into v_status from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  if v_status is distinct from 'active' then
    return 'closed_before';
  end if;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.operator_id is distinct from v_user and v_session.operator_id is not null
    and not private.sees_all_chatbots() then
    return 'taken_by_other';
  end if;
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = v_company and t.conversation_id = p_conversation and t.status = 'pending';
  update public.hitl_sessions s set status = 'resolved', ended_at = now(), ended_by = v_user
  where s.company_id = v_company and s.id = v_session.id;
  -- A reply that is being written finds its request gone. What was said is delivered all the same.
  delete from public.reply_requests r
  where r.company_id = v_company and r.conversation_id = p_conversation;
  update public.conversations c set status = 'resolved'
  where c.company_id = v_company and c.id = p_conversation;
  return 'closed';
end $$;
comment on function private.close_conversation(uuid) is
  'Ends a conversation and its takeover; the customer''s next message begins another one. Outcome: closed, closed_before, taken_by_other or not_found. Security definer, called by staff and API keys, because no role may write a conversation''s status directly.';
grant execute on function private.close_conversation(uuid) to authenticated;

create function private.rate_conversation(p_rating integer, p_comment text) returns uuid
language sql security definer set search_path = '' as $$
  update public.conversations c set satisfaction_rating = p_rating, satisfaction_comment = p_comment
  where c.company_id = (select private.company_id())
    and c.id = (select private.visitor_conversation_id())
  returning c.id
$$;
comment on function private.rate_conversation(integer, text) is
  'Stores a visitor''s rating of the conversation, 1 to 5; the last one counts. Returns null if there is no conversation. Security definer, called by visitors, because visitors may not write conversations.';
grant execute on function private.rate_conversation(integer, text) to visitor;

create function private.assign_conversation(p_conversation uuid, p_to uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.assign');
  v_user uuid := private.user_id();
  v_conversation public.conversations;
  v_session public.hitl_sessions;
  v_role public.user_role_enum;
begin
  if v_user is null or not private.sees_all_chatbots() then
    return 'not_found';
  end if;
  select c.* into v_conversation from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  if v_conversation.id is null then
    return 'not_found';
  end if;
  if v_conversation.status <> 'active' then
    return 'closed';
  end if;
  -- Locked: somebody who is deactivated at this moment is given nothing more.
  select u.role into v_role from public.users u
  where u.company_id = v_company and u.id = p_to and u.is_active for share;
  if v_role is null or v_role = 'operador' and not exists (
    select from public.chatbot_operators o
    where o.company_id = v_company and o.chatbot_id = v_conversation.chatbot_id
      and o.operator_id = p_to and o.is_active) then
    return 'invalid_target';
  end if;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.operator_id = p_to then
    return 'same';
  end if;
  if v_session.id is null then
    insert into public.hitl_sessions
      (company_id, conversation_id, chatbot_id, status, reason, operator_id, taken_at)
    values (v_company, p_conversation, v_conversation.chatbot_id, 'active', 'manual', p_to, now());
  else
    update public.hitl_sessions s
    set status = 'active', operator_id = p_to, taken_at = coalesce(s.taken_at, now())
    where s.company_id = v_company and s.id = v_session.id;
    update public.hitl_transfers t set status = 'cancelled', decided_at = now()
    where t.company_id = v_company and t.session_id = v_session.id and t.status = 'pending';
  end if;
  insert into public.notifications (company_id, user_id, kind, details)
  values (v_company, p_to, 'conversation_assigned',
    jsonb_build_object('conversation_id', p_conversation));
  return 'assigned';
end $$;
comment on function private.assign_conversation(uuid, uuid) is
  'A supervisor or above gives an open conversation to an active colleague who may serve its bot, whoever has it now; pending transfer requests end. Outcome: assigned, same (already that colleague''s), invalid_target, closed or not_found; error NA002 if the plan allows no more takeovers. Security definer, called by staff and API keys, because no role may write hitl_sessions directly.';
grant execute on function private.assign_conversation(uuid, uuid) to authenticated;

create function private.operator_name(p_user uuid) returns text
language sql stable security definer set search_path = '' as $$
  select u.first_name from public.users u
  where u.company_id = (select private.company_id('conversations.read')) and u.id = p_user
$$;
comment on function private.operator_name(uuid) is
  'Returns the first name of a colleague who writes in a conversation, which is all that a visitor or an operador may see. Security definer, called by staff and API keys, visitors and the worker for one company, because neither may read users.';
grant execute on function private.operator_name(uuid) to authenticated, visitor, neurant_worker;

create function private.set_last_message_slot() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.last_message_slot := date_bin('10 minutes', new.last_message_at, 'epoch');
  return new;
end $$;

create trigger set_last_message_slot before insert or update of last_message_at
  on public.conversations
  for each row when (
    new.last_message_slot is distinct from date_bin('10 minutes', new.last_message_at, 'epoch'))
  execute function private.set_last_message_slot();
