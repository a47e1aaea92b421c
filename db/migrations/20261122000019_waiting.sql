-- migrate:up
-- Nobody waits unnoticed: whoever is in charge is told of a customer whom no operador took in time.
set local role neurant_owner;

alter table public.hitl_sessions add column escalated_at timestamptz;
comment on column public.hitl_sessions.escalated_at is
  'When those in charge were told that nobody had taken it within the bot''s auto_escalate_after_minutes.';
create index hitl_sessions_waiting_idx on public.hitl_sessions (opened_at)
  where status = 'pending' and escalated_at is null;

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
  'Tells those in charge of customers who wait too long, once each, over all companies; how many. Definer: a timer has no company.';

create policy router_select on public.chatbot_supervisors for select to neurant_router using (true);
grant select on public.chatbot_supervisors to neurant_router;
grant execute on function private.escalate_waiting(timestamptz) to neurant_jobs;
alter function private.escalate_waiting(timestamptz) owner to neurant_router;

reset role;
-- migrate:down
