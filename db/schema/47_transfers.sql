-- Transfers of a conversation from one person to another.

create table public.hitl_transfers (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  session_id uuid not null,
  conversation_id uuid not null,
  chatbot_id uuid not null,
  from_user_id uuid not null,
  to_user_id uuid not null,
  kind text not null default 'escalation'
    check (kind in ('escalation', 'skill_based', 'workload_distribution', 'emergency')),
  reason text not null check (btrim(reason) <> '' and char_length(reason) <= 2000),
  status text not null default 'pending'
    check (status in ('pending', 'accepted', 'rejected', 'expired', 'cancelled')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '5 minutes',
  decided_at timestamptz,
  primary key (company_id, id),
  foreign key (company_id, session_id) references public.hitl_sessions (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, from_user_id) references public.users (company_id, id),
  foreign key (company_id, to_user_id) references public.users (company_id, id),
  check (from_user_id <> to_user_id),
  check ((status = 'pending') = (decided_at is null))
);
comment on table public.hitl_transfers is
  'A request to transfer a takeover. Until the colleague accepts, the conversation stays with its operator.';
create unique index hitl_transfers_open_key
  on public.hitl_transfers (company_id, session_id) where status = 'pending';
create index hitl_transfers_session_idx on public.hitl_transfers (company_id, session_id);
create index hitl_transfers_conversation_idx on public.hitl_transfers (company_id, conversation_id);
create index hitl_transfers_from_idx on public.hitl_transfers (company_id, from_user_id);
create index hitl_transfers_to_idx on public.hitl_transfers (company_id, to_user_id);
create index hitl_transfers_expiring_idx on public.hitl_transfers (expires_at) where status = 'pending';

alter table public.hitl_transfers enable row level security, force row level security;
create policy staff_select on public.hitl_transfers for select to authenticated
  using (company_id = (select private.company_id('conversations.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])
      or to_user_id = (select private.user_id())
      or from_user_id = (select private.user_id())));
create policy router_select on public.hitl_transfers for select to neurant_router using (true);
create policy router_insert on public.hitl_transfers for insert to neurant_router with check (true);
create policy router_update on public.hitl_transfers for update to neurant_router using (true) with check (true);
create policy router_delete on public.hitl_transfers for delete to neurant_router using (true);
grant select on public.hitl_transfers to authenticated;
grant select, insert, update, delete on public.hitl_transfers to neurant_router;

select private.audit_table('public.hitl_transfers', 'conversation_id',
  '{session_id,conversation_id,chatbot_id,from_user_id,to_user_id,kind,status,expires_at,
    decided_at}',
  '{reason}',
  '{}',
  '{created_at}');

create function private.level(p_role public.user_role_enum) returns integer
language sql immutable set search_path = '' as $$
  select case p_role when 'owner' then 4 when 'administrador' then 3 when 'supervisor' then 2 else 1 end
$$;
grant execute on function private.level(public.user_role_enum) to neurant_router;

create function private.request_transfer(
  p_conversation uuid, p_to uuid, p_kind text, p_reason text) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.transfer');
  v_user uuid := private.user_id();
  v_session public.hitl_sessions;
  v_to public.users;
begin
  if v_user is null or not private.can_work_on(p_conversation) then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = p_conversation for update;
  select s.* into v_session from public.hitl_sessions s
  where s.company_id = v_company and s.conversation_id = p_conversation
    and s.ended_at is null and s.operator_id = v_user;
  if v_session.id is null then
    return 'not_yours';
  end if;
  select u.* into v_to from public.users u
  where u.company_id = v_company and u.id = p_to and u.is_active and u.id <> v_user;
  if v_to.id is null or private.level(v_to.role) < private.level(private.user_role())
    or v_to.role = 'operador' and not exists (
      select from public.chatbot_operators o
      where o.company_id = v_company and o.chatbot_id = v_session.chatbot_id
        and o.operator_id = v_to.id and o.is_active) then
    return 'invalid_target';
  end if;
  insert into public.hitl_transfers
    (company_id, session_id, conversation_id, chatbot_id, from_user_id, to_user_id, kind, reason)
  values (v_company, v_session.id, p_conversation, v_session.chatbot_id, v_user, p_to, p_kind, p_reason)
  on conflict do nothing;
  if not found then
    return 'already_requested';
  end if;
  insert into public.notifications (company_id, user_id, kind, details)
  values (v_company, p_to, 'transfer_requested', jsonb_build_object('conversation_id', p_conversation));
  return 'requested';
end $$;
comment on function private.request_transfer(uuid, uuid, text, text) is
  'Asks a colleague (of the same level or above, who serves the bot) to take a conversation over. Outcome: requested, already_requested, invalid_target, not_yours or not_found. Security definer, called by staff and API keys, because an operador may not see every colleague.';
grant execute on function private.request_transfer(uuid, uuid, text, text) to authenticated;

create function private.decide_transfer(p_transfer uuid, p_accept boolean) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('conversations.transfer');
  v_user uuid := private.user_id();
  v_transfer public.hitl_transfers;
begin
  select t.* into v_transfer from public.hitl_transfers t
  where t.company_id = v_company and t.id = p_transfer and t.to_user_id = v_user;
  if v_transfer.id is null then
    return 'not_found';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id = v_transfer.conversation_id for update;
  update public.hitl_transfers t
  set status = case
      when t.expires_at <= now() then 'expired'
      when p_accept then 'accepted'
      else 'rejected' end,
    decided_at = now()
  where t.company_id = v_company and t.id = p_transfer and t.status = 'pending'
  returning t.* into v_transfer;
  if not found then
    return 'closed';
  end if;
  if v_transfer.status = 'accepted' then
    update public.hitl_sessions s set operator_id = v_user
    where s.company_id = v_company and s.id = v_transfer.session_id and s.ended_at is null
      and s.operator_id = v_transfer.from_user_id;
    if not found then
      update public.hitl_transfers t set status = 'cancelled'
      where t.company_id = v_company and t.id = p_transfer;
      return 'closed';
    end if;
  end if;
  insert into public.notifications (company_id, user_id, kind, details)
  values (v_company, v_transfer.from_user_id, 'transfer_' || v_transfer.status,
    jsonb_build_object('conversation_id', v_transfer.conversation_id));
  return v_transfer.status;
end $$;
comment on function private.decide_transfer(uuid, boolean) is
  'Records the colleague''s answer. Outcome: accepted, rejected, expired, closed (decided or ended meanwhile) or not_found. Security definer, called by staff and API keys, because it transfers hitl_sessions, which no role may write directly.';
grant execute on function private.decide_transfer(uuid, boolean) to authenticated;

create function private.expire_transfers(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_expired integer;
begin
  with expired as (
    update public.hitl_transfers t set status = 'expired', decided_at = p_now
    where t.status = 'pending' and t.expires_at <= p_now
    returning t.company_id, t.from_user_id, t.conversation_id
  )
  insert into public.notifications (company_id, user_id, kind, details)
  select e.company_id, e.from_user_id, 'transfer_expired',
    jsonb_build_object('conversation_id', e.conversation_id)
  from expired e;
  get diagnostics v_expired = row_count;
  return v_expired;
end $$;
comment on function private.expire_transfers(timestamptz) is
  'Ends the requests that nobody answered in time, over all companies; returns the number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.expire_transfers(timestamptz) to neurant_jobs;
