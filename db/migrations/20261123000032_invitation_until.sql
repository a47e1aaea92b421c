-- migrate:up
-- Until when an invitation is good, the page tells by the same clock as the mail did.
set local role neurant_owner;

drop function private.look_at_invitation(bytea, timestamptz);
create function private.look_at_invitation(p_token_digest bytea, p_now timestamptz default now())
returns table (
  outcome text, company_name text, email text, role public.user_role_enum, first_name text,
  last_name text, invited_by text, expires_at timestamptz, has_login boolean, language text,
  timezone text)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_known public.user_invitations;
begin
  select c.id into v_company
  from public.user_invitations i
  join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
  where i.token_digest = p_token_digest;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.token_digest = p_token_digest;
  if v_known.status = 'pending' and v_known.expires_at <= p_now then
    perform from public.companies c where c.id = v_company for no key update;
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.id = v_known.id and i.status = 'pending'
      and i.expires_at <= p_now;
    v_known.status := 'expired';
  end if;
  if v_known.id is null then
    return query select 'unknown', null::text, null::text, null::public.user_role_enum, null::text,
      null::text, null::text, null::timestamptz, null::boolean, null::text, null::text;
    return;
  end if;
  return query
  select v_known.status::text, c.name::text, v_known.email::text, v_known.role,
    v_known.first_name::text, v_known.last_name::text,
    btrim(u.first_name || ' ' || u.last_name), v_known.expires_at,
    exists (select from auth.users a where lower(a.email) = v_known.email), v_known.language,
    c.timezone::text
  from public.companies c
  join public.users u on u.company_id = c.id and u.id = v_known.invited_by
  where c.id = v_company;
end $$;
comment on function private.look_at_invitation(bytea, timestamptz) is
  'What stands behind a link: pending, accepted, cancelled, expired (and marked so) or unknown. Definer: who holds the link is nobody yet, and the mail with it went to the invited address only.';

grant execute on function private.look_at_invitation(bytea, timestamptz) to neurant_app;
alter function private.look_at_invitation(bytea, timestamptz) owner to neurant_router;

reset role;
-- migrate:down
