-- migrate:up
-- A conversation's counters equal a recount of its messages, whatever is written, deleted or moved.
set local role neurant_owner;

alter table public.conversations
  add column response_time_total_ms bigint not null default 0,
  add column response_time_count integer not null default 0;
comment on column public.conversations.response_time_total_ms is
  'Sum of processing_time_ms of the bot''s messages: what keeps avg_response_time_ms exact.';
comment on column public.conversations.response_time_count is
  'How many of the bot''s messages have a processing_time_ms.';
comment on column public.conversations.avg_response_time_ms is
  'Average processing_time_ms of the bot''s messages, exact at commit.';
comment on column public.conversations.last_message_at is
  'created_at of the newest message, or started_at: a back-filled message moves it only forwards.';

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
alter function private.recount_conversation(uuid, uuid) owner to neurant_router;
alter function private.update_conversation_message_count() owner to neurant_router;

reset role;

create or replace function private.number_message() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  v_took integer := case new.sender_type when 'bot' then new.processing_time_ms end;
begin
  if new.sender_type is null then  -- only a staff member's insert leaves it out
    new.sender_type := 'human';
    new.sender_id := private.user_id();
    perform private.take_for_reply(new.company_id, new.conversation_id, new.sender_id);
  end if;
  update public.conversations c
  set last_seq = c.last_seq + 1,
    message_count = c.message_count + 1,
    bot_message_count = c.bot_message_count + (new.sender_type = 'bot')::integer,
    human_message_count = c.human_message_count + (new.sender_type = 'human')::integer,
    last_message_at = greatest(c.last_message_at, new.created_at),
    response_time_total_ms = c.response_time_total_ms + coalesce(v_took, 0),
    response_time_count = c.response_time_count + (v_took is not null)::integer,
    avg_response_time_ms = case when v_took is null then c.avg_response_time_ms
      else round((c.response_time_total_ms + v_took)::numeric / (c.response_time_count + 1)) end
  where c.company_id = new.company_id and c.id = new.conversation_id
  returning c.last_seq, c.chatbot_id, c.channel_account_id,
    case when c.channel = 'web' then 'sent' else 'pending' end
  into new.seq, new.chatbot_id, new.channel_account_id, new.status;
  return new;
end $$;

-- As the migrating login, since the owner sees no rows.
update public.conversations c
set response_time_total_ms = m.response_ms, response_time_count = m.responses,
  avg_response_time_ms = round(m.response_ms::numeric / m.responses)
from (
  select m.company_id, m.conversation_id, count(*) as responses,
    sum(m.processing_time_ms) as response_ms
  from public.messages m
  where m.sender_type = 'bot' and m.processing_time_ms is not null
  group by m.company_id, m.conversation_id) m
where c.company_id = m.company_id and c.id = m.conversation_id;
-- migrate:down
