-- Handoff: a person takes a conversation over and returns it to the bot.

create table public.hitl_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  chatbot_id uuid not null,
  status text not null default 'pending'
    check (status in ('pending', 'active', 'resolved', 'abandoned')),
  reason text not null,
  reason_detail text,
  operator_id uuid,
  opened_at timestamptz not null default now(),
  escalated_at timestamptz,
  taken_at timestamptz,
  first_response_at timestamptz,
  ended_at timestamptz,
  ended_by uuid,
  resolution_notes text,
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, operator_id) references public.users (company_id, id),
  foreign key (company_id, ended_by) references public.users (company_id, id),
  check ((status = 'pending') = (operator_id is null and ended_at is null)
    or status in ('resolved', 'abandoned')),
  check ((status in ('resolved', 'abandoned')) = (ended_at is not null)),
  constraint hitl_sessions_reason_check
    check (reason in ('user_request', 'keywords', 'no_answer', 'manual', 'limit_reached',
      'request', 'complaint', 'emergency'))
);
comment on column public.hitl_sessions.escalated_at is
  'When the people in charge were notified that nobody had taken the conversation within the bot''s auto_escalate_after_minutes.';
create unique index hitl_sessions_open_key
  on public.hitl_sessions (company_id, conversation_id) where ended_at is null;
create index hitl_sessions_conversation_idx
  on public.hitl_sessions (company_id, conversation_id, opened_at desc);
create index hitl_sessions_operator_idx
  on public.hitl_sessions (company_id, operator_id) where operator_id is not null;
create index hitl_sessions_ended_by_idx
  on public.hitl_sessions (company_id, ended_by) where ended_by is not null;
create index hitl_sessions_waiting_idx on public.hitl_sessions (opened_at)
  where status = 'pending' and escalated_at is null;
-- The rollup finds the days on which a takeover began and ended, and the day of a reaction, by
-- these.
create index hitl_sessions_opened_idx on public.hitl_sessions (company_id, opened_at);
create index hitl_sessions_ended_idx on public.hitl_sessions (company_id, ended_at)
  where ended_at is not null;

alter table public.hitl_sessions enable row level security, force row level security;
create policy staff_select on public.hitl_sessions for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or conversation_id = any ((select private.my_conversation_ids())::uuid[])));
create policy router_select on public.hitl_sessions for select to neurant_router using (true);
create policy router_insert on public.hitl_sessions for insert to neurant_router with check (true);
create policy router_update on public.hitl_sessions for update to neurant_router using (true) with check (true);
create policy router_delete on public.hitl_sessions for delete to neurant_router using (true);
grant select on public.hitl_sessions to authenticated;
grant select, insert, update, delete on public.hitl_sessions to neurant_router;

select private.audit_table('public.hitl_sessions', 'conversation_id',
  '{conversation_id,chatbot_id,status,reason,operator_id,opened_at,taken_at,ended_at,
    ended_by,escalated_at}',
  '{reason_detail,resolution_notes}',
  '{}',
  '{first_response_at}');

-- Its name makes it run after follow_hitl_session, so that the conversation is locked before the
-- company.
create trigger keep_hitl_count after insert or delete or update of status on public.hitl_sessions
  for each row execute function private.count_takeover();

create trigger attends_while_active before insert or update of operator_id on public.hitl_sessions
  for each row when (new.operator_id is not null and new.ended_at is null)
  execute function private.attends_while_active();

create function private.follow_hitl_session()
returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.conversations c
  set fence = c.fence + 1,
    is_hitl_active = new.ended_at is null,
    assigned_operator_id = case when new.ended_at is null then new.operator_id end,
    hitl_activated_at = case when new.ended_at is null then new.opened_at end,
    hitl_reason = case when new.ended_at is null then new.reason end
  where c.company_id = new.company_id and c.id = new.conversation_id;
  insert into public.messages
    (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, sender_id, content)
  select new.company_id, new.conversation_id, new.chatbot_id, c.channel_account_id, 'system',
    coalesce(new.ended_by, new.operator_id, old.operator_id),
    case new.status
      when 'pending' then case when old.operator_id is null
        then private.queued_line(new.company_id, new.chatbot_id) else 'hitl_released' end
      when 'active' then 'hitl_taken'
      else 'hitl_resolved' end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id;
  return null;
end $$;
comment on function private.follow_hitl_session() is
  'Copies the state of hitl_sessions, which is authoritative, into the conversation''s HITL columns, raises the fence and writes a system line. Security definer, called by a trigger, because no role may write these columns directly.';

create trigger follow_hitl_session after insert on public.hitl_sessions
  for each row when (new.ended_at is null) execute function private.follow_hitl_session();

create trigger follow_hitl_session_change after update of status, operator_id on public.hitl_sessions
  for each row execute function private.follow_hitl_session();

create function private.can_work_on(p_conversation uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (
    select from public.conversations c
    where c.company_id = (select private.company_id('conversations.reply')) and c.id = p_conversation
      and ((select private.sees_all_chatbots())
        or c.chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
        or c.assigned_operator_id = (select private.user_id())))
$$;
comment on function private.can_work_on(uuid) is
  'Returns whether the verified staff member may see and serve this conversation. Security definer, called by other definers only, because it is called by definers, whose own policies show every company.';

create function private.take_conversation(p_conversation uuid, p_take_over boolean default false)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.reply');
  v_user uuid := private.user_id();
  v_chatbot uuid;
  v_session public.hitl_sessions;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  select c.chatbot_id into v_chatbot from public.conversations c
  where c.company_id = v_company and c.id = p_conversation and c.status = 'active' for update;
  if v_chatbot is null then
    return 'closed';
  end if;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.id is null then
    insert into public.hitl_sessions
      (company_id, conversation_id, chatbot_id, status, reason, operator_id, taken_at)
    values (v_company, p_conversation, v_chatbot, 'active', 'manual', v_user, now());
    return 'taken';
  end if;
  if v_session.operator_id = v_user then
    return 'yours';
  end if;
  if v_session.status = 'active' and not (p_take_over and private.sees_all_chatbots()) then
    return 'taken_by_other';
  end if;
  update public.hitl_sessions s
  set status = 'active', operator_id = v_user, taken_at = coalesce(s.taken_at, now())
  where s.company_id = v_company and s.id = v_session.id;
  return 'taken';
end $$;
comment on function private.take_conversation(uuid, boolean) is
  'The caller takes a conversation. Outcome: taken, yours, taken_by_other, closed or not_found. Of two concurrent calls one succeeds. Security definer, called by staff and API keys, because it writes hitl_sessions, for a caller whose scope it checks itself.';
grant execute on function private.take_conversation(uuid, boolean) to authenticated;

create function private.take_for_reply(p_company uuid, p_conversation uuid, p_user uuid)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_outcome text;
begin
  if p_user is null or p_company is distinct from private.company_id() then
    raise exception 'new row violates row-level security policy for table "messages"'
      using errcode = 'insufficient_privilege';
  end if;
  v_outcome := private.take_conversation(p_conversation);
  if v_outcome = 'not_found' then
    raise exception 'new row violates row-level security policy for table "messages"'
      using errcode = 'insufficient_privilege';
  elsif v_outcome in ('taken_by_other', 'closed') then
    raise exception 'conversation is %', v_outcome using errcode = 'NA001', hint = v_outcome;
  end if;
  update public.hitl_sessions s
  set first_response_at = now()
  where s.company_id = p_company and s.conversation_id = p_conversation
    and s.ended_at is null and s.first_response_at is null;
end $$;
comment on function private.take_for_reply(uuid, uuid, uuid) is
  'Takes the conversation for a person who sends a message. Raises NA001 with the hint taken_by_other or closed if that is impossible. Security definer, called by other definers only, because it writes hitl_sessions.';

create function private.resolve_conversation(p_conversation uuid, p_notes text default null)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.reply');
  v_user uuid := private.user_id();
  v_session public.hitl_sessions;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation and s.ended_at is null;
  if v_session.id is null then
    return 'not_open';
  end if;
  if v_session.operator_id is distinct from v_user and v_session.operator_id is not null
    and not private.sees_all_chatbots() then
    return 'taken_by_other';
  end if;
  update public.hitl_sessions s
  set status = 'resolved', ended_at = now(), ended_by = v_user, resolution_notes = p_notes
  where s.company_id = v_company and s.id = v_session.id;
  return 'resolved';
end $$;
comment on function private.resolve_conversation(uuid, text) is
  'Ends the takeover, after which the bot answers again. Outcome: resolved, not_open, taken_by_other or not_found. Security definer, called by staff and API keys, because it writes hitl_sessions, for a caller whose scope it checks itself.';
grant execute on function private.resolve_conversation(uuid, text) to authenticated;

create function private.escalate_waiting(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_escalated integer;
begin
  with late as (
    select s.company_id, s.id
    from public.hitl_sessions s
    join public.chatbots b on b.company_id = s.company_id and b.id = s.chatbot_id
    join public.companies c on c.id = s.company_id and c.subscription_status <> 'cancelled'
    where s.status = 'pending' and s.escalated_at is null
      and s.opened_at <= p_now - b.auto_escalate_after_minutes * interval '1 minute'
    order by s.company_id, s.id
    for update of s skip locked
  ),
  escalated as (
    update public.hitl_sessions s set escalated_at = p_now
    from late
    where s.company_id = late.company_id and s.id = late.id
    returning s.company_id, s.conversation_id, s.chatbot_id
  ),
  told as (
    -- The supervisor in charge; where there is none, everybody from supervisor up.
    insert into public.notifications (company_id, user_id, kind, details)
    select e.company_id, u.id, 'customer_waiting',
      jsonb_build_object('conversation_id', e.conversation_id)
    from escalated e
    left join public.chatbot_supervisors k
      on k.company_id = e.company_id and k.chatbot_id = e.chatbot_id
    join public.users u on u.company_id = e.company_id and u.is_active
      and case when k.supervisor_id is null then u.role <> 'operador'
        else u.id = k.supervisor_id or u.role in ('owner', 'administrador') end
  )
  select count(*) into v_escalated from escalated;
  return v_escalated;
end $$;
comment on function private.escalate_waiting(timestamptz) is
  'Notifies the people in charge, once each, of customers who wait too long, over all companies; returns the number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.escalate_waiting(timestamptz) to neurant_jobs;
