-- Messages: their order, their counters and their delivery.

create table public.messages (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  chatbot_id uuid not null,
  channel_account_id uuid not null,
  seq bigint not null,
  content text not null check (char_length(content) <= 20000),
  message_type public.message_type_enum not null default 'text',
  media_url text,
  media_type varchar(50),
  sender_type public.sender_type_enum not null,
  sender_id uuid,
  n8n_message_id varchar(255),
  n8n_workflow_id varchar(255),
  external_message_id varchar(255),
  processing_time_ms integer check (processing_time_ms >= 0),
  tokens_used integer check (tokens_used >= 0),
  model_used varchar(100),
  status public.message_status_enum not null default 'sent',
  delivered_at timestamptz,
  read_at timestamptz,
  used_knowledge_base boolean default false,
  knowledge_sources jsonb default '[]',
  confidence_score decimal(3, 2) check (confidence_score between 0 and 1),
  explanation jsonb,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, conversation_id, seq),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, sender_id) references public.users (company_id, id),
  check (content <> '' or message_type <> 'text'),
  check (sender_type in ('human', 'system') or sender_id is null),
  -- A message of an end user counts as delivered when it is stored, at created_at.
  constraint messages_delivery_check check (
    (read_at is not null) = (status = 'read')
    and (delivered_at is null or status in ('delivered', 'read'))
    and (delivered_at is not null or status not in ('delivered', 'read')
    or sender_type = 'end_user' and status = 'delivered')
    and (read_at >= delivered_at) is not false),
  constraint messages_seq_check check (seq > 0),
  constraint messages_sources_check check (jsonb_typeof(knowledge_sources) = 'array'),
  constraint messages_explanation_check check (explanation is null
    or sender_type = 'bot' and jsonb_typeof(explanation) = 'object'
    and char_length(explanation::text) <= 8000)
);
comment on column public.messages.model_used is
  'What produced the text of the bot: extractive (a quote of documents), phrase (one of its fixed phrases), or the name of a language model.';
comment on column public.messages.tokens_used is
  'Tokens of a language model that the answer used; null: no language model produced it.';
comment on column public.messages.used_knowledge_base is
  'Whether the text comes from documents. It stays true when the sources are erased.';
comment on column public.messages.confidence_score is
  'The probability that the best passage answers the question: also where it was too low to answer.';
comment on column public.messages.explanation is
  'Why the bot said this: the kind of turn, repaired words, passages with scores, confidence, threshold, decision and reason. Only the staff reads it.';
comment on column public.messages.chatbot_id is
  'The bot of the conversation, kept equal by the foreign key, so that the policy for operadores needs no join.';
comment on column public.messages.content is
  'The text. For sender system: a key of the message catalogue, shown in the reader''s language.';
-- The channel's own id identifies a redelivered webhook as a duplicate.
create unique index messages_external_key
  on public.messages (company_id, channel_account_id, external_message_id)
  where external_message_id is not null;
create index messages_newest_idx on public.messages (company_id, created_at desc, id desc);
create index messages_sender_idx on public.messages (company_id, sender_id) where sender_id is not null;

alter table public.messages enable row level security, force row level security;
create policy staff_select on public.messages for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy staff_insert on public.messages for insert to authenticated
  with check (company_id = (select private.company_id('conversations.reply'))
    and sender_type = 'human'
    and sender_id = (select private.user_id())
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy visitor_select on public.messages for select to visitor
  using (company_id = (select private.company_id())
    and conversation_id = (select private.visitor_conversation_id()));
create policy worker_select on public.messages for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.messages for select to neurant_router using (true);
create policy router_insert on public.messages for insert to neurant_router with check (true);
create policy router_update on public.messages for update to neurant_router using (true) with check (true);
create policy router_delete on public.messages for delete to neurant_router using (true);
grant select on public.messages to authenticated, neurant_worker;
grant insert (company_id, id, conversation_id, content) on public.messages to authenticated;
grant select (company_id, id, conversation_id, seq, content, message_type, sender_type, sender_id,
  external_message_id, status, knowledge_sources, created_at) on public.messages to visitor;
grant select, insert, update, delete on public.messages to neurant_router;

create trigger set_updated_at before update on public.messages
  for each row execute function private.update_updated_at_column();

create function private.number_message() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.sender_type is null then  -- only a staff member's insert leaves it out
    new.sender_type := 'human';
    new.sender_id := private.user_id();
    perform private.take_for_reply(new.company_id, new.conversation_id, new.sender_id);
  end if;
  update public.conversations c
  set last_seq = c.last_seq + 1,
    message_count = c.message_count + 1,
    human_message_count = c.human_message_count + (new.sender_type = 'human')::integer,
    last_message_at = greatest(c.last_message_at, new.created_at),
    updated_at = now()
  where c.company_id = new.company_id and c.id = new.conversation_id
  returning c.last_seq, c.chatbot_id, c.channel_account_id,
    case when c.channel = 'web' then 'sent' else 'pending' end
  into new.seq, new.chatbot_id, new.channel_account_id, new.status;
  return new;
end $$;
comment on function private.number_message() is
  'Gives a message its sender, its number in the conversation and its first delivery status, and maintains the conversation''s counters. (track_message_usage numbers the bot''s messages; ingest numbers its own, a batch at a time.) Security definer, called by a trigger, because no role may write these columns directly.';

create trigger number_message before insert on public.messages
  for each row when (new.seq is null and new.sender_type is distinct from 'bot')
  execute function private.number_message();

create function private.track_message_usage() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  -- Backends have slots of their own as far as they go, so they seldom wait for one another.
  v_slot smallint := pg_backend_pid() % 64;
begin
  -- Everybody's order of locks: the conversation, the company, its slots.
  update public.conversations c
  set last_seq = c.last_seq + 1,
    message_count = c.message_count + 1,
    bot_message_count = c.bot_message_count + 1,
    last_message_at = greatest(c.last_message_at, new.created_at),
    response_time_total_ms = c.response_time_total_ms + coalesce(new.processing_time_ms, 0),
    response_time_count = c.response_time_count + (new.processing_time_ms is not null)::integer,
    avg_response_time_ms = case
      when new.processing_time_ms is null then c.avg_response_time_ms
      else round((c.response_time_total_ms + new.processing_time_ms)::numeric
        / (c.response_time_count + 1)) end,
    updated_at = now()
  where c.company_id = new.company_id and c.id = new.conversation_id
  returning c.last_seq, c.chatbot_id, c.channel_account_id,
    case when c.channel = 'web' then 'sent' else 'pending' end
  into new.seq, new.chatbot_id, new.channel_account_id, new.status;
  begin
    update public.usage_slots s set used = s.used + 1
    where s.company_id = new.company_id and s.slot = v_slot
      and s.used < s.granted and s.granted_until > now();
    if found then
      return new;
    end if;
    -- An update that waited in vain still holds its row: rolled back, it does not.
    raise exception using errcode = 'NA000', message = 'the slot is used up';
  exception when sqlstate 'NA000' then
    null;
  end;
  perform private.draw_allowance(new.company_id, v_slot);
  return new;
end $$;
comment on function private.track_message_usage() is
  'Numbers a message of the bot, counts it in its conversation and against its company''s month, or refuses it with NA002. Only the bot''s messages are billed, each once; a message that already has its number is being restored and is not counted again. Security definer, called by a trigger, because no role may write counters directly.';

create trigger track_message_usage before insert on public.messages
  for each row when (new.seq is null and new.sender_type = 'bot')
  execute function private.track_message_usage();

create function private.recount_conversation(p_company uuid, p_conversation uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
  -- First the lock, then a statement that sees what those wrote who held it before.
  perform from public.conversations c
  where c.company_id = p_company and c.id = p_conversation for no key update;
  update public.conversations c
  set message_count = m.messages, bot_message_count = m.bot, human_message_count = m.human,
    last_message_at = greatest(c.started_at, m.newest),
    response_time_total_ms = m.response_ms, response_time_count = m.responses,
    avg_response_time_ms = coalesce(round(m.response_ms::numeric / nullif(m.responses, 0)), 0)
  from (
    select count(*) as messages, max(m.created_at) as newest,
      count(*) filter (where m.sender_type = 'bot') as bot,
      count(*) filter (where m.sender_type = 'human') as human,
      count(m.processing_time_ms) filter (where m.sender_type = 'bot') as responses,
      coalesce(sum(m.processing_time_ms) filter (where m.sender_type = 'bot'), 0) as response_ms
    from public.messages m
    where m.company_id = p_company and m.conversation_id = p_conversation) m
  where c.company_id = p_company and c.id = p_conversation;
end $$;
comment on function private.recount_conversation(uuid, uuid) is
  'Recomputes a conversation''s counters from its messages. Security definer, called by other definers only, because no role may write counters directly.';

create function private.update_conversation_message_count() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'DELETE' then
    perform private.recount_conversation(d.company_id, d.conversation_id)
    from (select distinct o.company_id, o.conversation_id from old_rows o
      order by o.company_id, o.conversation_id) d;
  else
    perform private.recount_conversation(new.company_id, new.conversation_id);
    if new.conversation_id <> old.conversation_id then
      perform private.recount_conversation(old.company_id, old.conversation_id);
    end if;
  end if;
  return null;
end $$;
comment on function private.update_conversation_message_count() is
  'Maintains a conversation''s counters when messages are deleted or changed. (number_message and ingest maintain them when messages are added.) Security definer, called by a trigger, because no role may write counters directly.';

create trigger update_conversation_message_count after delete on public.messages
  referencing old table as old_rows
  for each statement execute function private.update_conversation_message_count();

create trigger recount_conversation
  after update of conversation_id, sender_type, created_at, processing_time_ms on public.messages
  for each row when (
    (old.conversation_id, old.sender_type, old.created_at, old.processing_time_ms)
    is distinct from
    (new.conversation_id, new.sender_type, new.created_at, new.processing_time_ms))
  execute function private.update_conversation_message_count();

create function private.advance_status() returns trigger
language plpgsql set search_path = '' as $$
begin
  if new.status <> old.status and not (case old.status
    when 'pending' then true
    when 'sent' then new.status in ('delivered', 'read', 'failed')
    when 'delivered' then new.status = 'read'
    when 'unknown' then new.status in ('pending', 'sent', 'delivered', 'read', 'failed')
    -- Sent again by a person; or the channel failed to say that it had arrived after all.
    when 'failed' then new.status in ('pending', 'delivered', 'read')
    else false end)
  then
    new.status := old.status;
  end if;
  -- Each moment is written once, with its state, and never before the one that it follows.
  new.delivered_at := case when new.status in ('delivered', 'read')
    then coalesce(old.delivered_at, new.delivered_at, least(now(), new.read_at)) end;
  new.read_at := case when new.status = 'read'
    then coalesce(old.read_at, greatest(coalesce(new.read_at, now()), new.delivered_at)) end;
  return new;
end $$;
comment on function private.advance_status() is
  'Moves the delivery status forwards only: an event that is late, duplicated or contradicts a better one changes nothing.';

create trigger advance_status before update of status, delivered_at, read_at on public.messages
  for each row when (
    (old.status, old.delivered_at, old.read_at)
    is distinct from (new.status, new.delivered_at, new.read_at))
  execute function private.advance_status();

create function private.send_message() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.outbox
    (company_id, conversation_id, message_id, channel_account_id, seq, fence)
  select c.company_id, c.id, new.id, c.channel_account_id, new.seq,
    case when new.sender_type = 'bot' then c.fence end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id and c.channel <> 'web'
    -- In a finished one nobody speaks: what is written there came back from the archive.
    and c.status = 'active';
  return null;
end $$;
comment on function private.send_message() is
  'Puts a message to an end user into the outbox, in the same transaction. (The web chat reads messages itself.) Security definer, called by a trigger, because no role may write the outbox directly.';

create trigger send_message after insert on public.messages
  for each row when (new.status = 'pending') execute function private.send_message();

create function private.resend_message(p_message uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.reply');
  v_conversation uuid;
begin
  select m.conversation_id into v_conversation from public.messages m
  where m.company_id = v_company and m.id = p_message;
  if v_conversation is null or not private.can_work_on(v_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = v_conversation for update;
  -- Never what the channel has meanwhile said to have arrived.
  update public.outbox o
  set status = 'pending', due_at = now(), attempts = 0, fence = null, last_error = null,
    sent_at = null
  from public.messages m
  where o.company_id = v_company and o.message_id = p_message
    and o.status in ('sent', 'failed', 'unknown')
    and m.company_id = o.company_id and m.id = o.message_id and m.status in ('failed', 'unknown');
  if not found then
    return 'not_resendable';
  end if;
  update public.messages m set status = 'pending'
  where m.company_id = v_company and m.id = p_message;
  return 'resent';
end $$;
comment on function private.resend_message(uuid) is
  'Sends a message again, by the decision of a person, if it failed or its delivery is unknown. Outcome: resent, not_resendable or not_found. Security definer, called by staff and API keys, because no role may write the outbox directly.';
grant execute on function private.resend_message(uuid) to authenticated;
