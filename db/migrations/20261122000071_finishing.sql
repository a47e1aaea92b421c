-- migrate:up
-- A conversation ends: when nobody has said anything for a day, and never backwards.
set local role neurant_owner;

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
  'active, then resolved or abandoned, then archived: a finished conversation is never opened again, the next message opens a new one.';

create trigger finish_conversation before update of status on public.conversations
  for each row when (old.status <> new.status) execute function private.finish_conversation();
comment on column public.conversations.session_duration_minutes is
  'From the beginning to the last message, in whole minutes; written when it ends.';

-- A finished conversation has nobody in it.
alter table public.conversations add constraint conversations_finished_check
  check (status = 'active' or not is_hitl_active) not valid;

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
  'Ends conversations in which nothing was said for 24 hours and nothing is owed, over all companies, the longest silent first; how many. Resolved where the last word was ours, abandoned where the end user was left without an answer. Definer: a timer has no company.';

grant execute on function private.close_idle_conversations(timestamptz, integer) to neurant_jobs;
alter function private.close_idle_conversations(timestamptz, integer) owner to neurant_router;

reset role;
-- migrate:down
