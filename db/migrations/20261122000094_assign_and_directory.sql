-- migrate:up
-- Who is in charge gives conversations out, colleagues know each other, invitations stay below their reader, addresses are addresses.
set local role neurant_owner;

alter table public.users
  add constraint users_address_check check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$') not valid;
alter table public.user_invitations
  add constraint user_invitations_address_check
  check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$') not valid;
alter table public.companies
  add constraint companies_address_check check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$') not valid;

drop policy staff_select on public.user_invitations;
-- The enum runs from the strongest role to the weakest.
create policy staff_select on public.user_invitations for select to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company())
    and role > (select private.user_role()));

create function private.assign_conversation(p_conversation uuid, p_to uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
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
  'From supervisor up, gives an open conversation to an active colleague who may serve its bot, down as well, whoever has it, and ends requests to pass it on: assigned, same (already theirs), invalid_target, closed or not_found; NA002 where the plan allows no more takeovers. Definer, as take_conversation.';

create function private.team_directory()
returns table (
  user_id uuid, first_name text, last_name text, avatar_url text, role public.user_role_enum,
  last_seen_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select u.id, u.first_name, u.last_name, u.avatar_url, u.role, u.last_seen_at
  from public.users u
  where u.company_id = (select private.company_id()) and u.is_active
    and ((select private.sees_all_chatbots())
      -- Whoever is in charge of a bot is a supervisor: among these, too.
      or u.role <> 'operador'
      or exists (
        select from public.chatbot_operators o
        where o.company_id = u.company_id and o.operator_id = u.id and o.is_active
          and o.chatbot_id = any ((select private.my_chatbot_ids())::uuid[])))
$$;
comment on function private.team_directory() is
  'The active colleagues to whom the caller may pass a conversation, and how to tell them apart: everybody from supervisor up, and the operadores of the caller''s bots (of all bots for a supervisor and above). Definer: an operador reads nobody else''s row, whose e-mail and phone stay closed.';

grant execute on function private.assign_conversation(uuid, uuid), private.team_directory()
  to authenticated;
alter function private.assign_conversation(uuid, uuid) owner to neurant_router;
alter function private.team_directory() owner to neurant_router;

reset role;
set local role neurant_router;

create or replace function private.invite_user(
  p_email text, p_role public.user_role_enum, p_first_name text, p_last_name text,
  p_token_digest bytea, p_now timestamptz default now())
returns table (outcome text, invitation_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id();
  v_user uuid := private.user_id();
  v_email text := lower(btrim(p_email));
  v_known public.user_invitations;
begin
  if v_user is null or not private.stands_above(p_role) then
    return query select 'forbidden', null::uuid;
    return;
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  if exists (
    select from public.users u where u.company_id = v_company and u.email = v_email and u.is_active)
  then
    return query select 'already_member', null::uuid;
    return;
  end if;
  if exists (select from public.users u where u.company_id = v_company and u.email = v_email) then
    return query select 'deactivated', null::uuid;
    return;
  end if;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.email = v_email for update;
  if v_known.id is not null and not private.stands_above(v_known.role) then
    return query select 'forbidden', null::uuid;
    return;
  end if;
  if v_known.status = 'pending' and v_known.expires_at > p_now then
    return query select 'already_invited', v_known.id;
    return;
  end if;
  insert into public.user_invitations as i (company_id, email, first_name, last_name, role,
    invited_by, token_digest, sent_at, expires_at)
  values (v_company, v_email, p_first_name, p_last_name, p_role, v_user, p_token_digest, p_now,
    p_now + interval '7 days')
  on conflict (company_id, email) do update
  set first_name = excluded.first_name, last_name = excluded.last_name, role = excluded.role,
    invited_by = excluded.invited_by, token_digest = excluded.token_digest, status = 'pending',
    accepted_at = null, accepted_by_user_id = null, sent_at = excluded.sent_at,
    sent_count = i.sent_count + 1, expires_at = excluded.expires_at,
    reminder_sent_at = null, reminder_count = 0
  returning i.id into v_known.id;
  return query select 'invited', v_known.id;
end $$;
comment on function private.invite_user(text, public.user_role_enum, text, text, bytea, timestamptz) is
  'Invites somebody to a role below the caller''s, for 7 days, and holds a seat (NA002 where none is left): invited, already_invited, already_member, deactivated (bring them back instead) or forbidden. An address that was invited before keeps its row, and whoever stands not above the role it was invited to leaves it alone (forbidden). Definer: token and status are nobody''s to write by hand.';

reset role;
-- migrate:down
