-- migrate:up
-- A conversation's counters equal a recount of its messages, whatever is written, deleted or moved.
-- A trigger is made by whoever may execute its function: lent until it is made.
set local role neurant_router;
grant execute on function private.number_message(), private.send_message() to neurant_owner;

set local role neurant_owner;

alter table public.conversations
  add column response_time_total_ms bigint not null default 0,
  add column response_time_count integer not null default 0,
  add column last_message_slot timestamptz;
comment on column public.conversations.response_time_total_ms is
  'Sum of processing_time_ms of the bot''s messages: what keeps avg_response_time_ms exact.';
comment on column public.conversations.response_time_count is
  'How many of the bot''s messages have a processing_time_ms.';
comment on column public.conversations.avg_response_time_ms is
  'Average processing_time_ms of the bot''s messages, exact at commit.';
comment on column public.conversations.last_message_slot is
  'last_message_at, down to ten minutes. The inbox''s index holds this one, so that most messages change no index of conversations: order by last_message_slot desc, last_message_at desc.';
comment on column public.conversations.last_message_at is
  'created_at of the newest message, or started_at: a back-filled message moves it only forwards.';

-- Room on each page for the versions of a row that is updated with every message.
alter table public.conversations set (fillfactor = 70);

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
  'Numbers a bot''s message, counts it in its conversation and toward its company''s month, or refuses it: NA002. Nothing else is billed, and nothing twice (a message that already has its number is one that comes back). Definer: nobody may write counters by hand.';

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
  'Sets a conversation''s counters from its messages. Definer: nobody may write those by hand.';

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
  'Keeps a conversation''s counters when messages go or change. (number_message and ingest keep them when messages come.) Definer: nobody may write those by hand.';

drop trigger number_message on public.messages;
create trigger number_message before insert on public.messages
  for each row when (new.seq is null and new.sender_type is distinct from 'bot')
  execute function private.number_message();
create trigger track_message_usage before insert on public.messages
  for each row when (new.seq is null and new.sender_type = 'bot')
  execute function private.track_message_usage();
-- Only what has to go out: the web chat reads messages itself.
drop trigger send_message on public.messages;
create trigger send_message after insert on public.messages
  for each row when (new.status = 'pending') execute function private.send_message();
-- Counters say themselves when they were updated.
drop trigger set_updated_at on public.conversations;
create trigger set_updated_at before update on public.conversations
  for each row when (new.updated_at = old.updated_at)
  execute function private.update_updated_at_column();
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

grant execute on function private.recount_conversation(uuid, uuid) to neurant_router;
alter function private.track_message_usage() owner to neurant_router;
alter function private.recount_conversation(uuid, uuid) owner to neurant_router;
alter function private.update_conversation_message_count() owner to neurant_router;

set local role neurant_router;
revoke execute on function private.number_message(), private.send_message() from neurant_owner;

create or replace function private.number_message() returns trigger
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
  'Gives a message its sender, its place in the conversation and its first delivery state, and keeps the conversation''s counters. Definer: nobody may write those by hand. (The bot''s are numbered by track_message_usage, ingest numbers its own, a batch at a time.)';

create or replace function private.send_message() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.outbox
    (company_id, conversation_id, message_id, channel_account_id, seq, fence)
  select c.company_id, c.id, new.id, c.channel_account_id, new.seq,
    case when new.sender_type = 'bot' then c.fence end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id;
  return null;
end $$;

reset role;
-- migrate:down
